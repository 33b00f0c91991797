package attest

import "sync"

// memo keeps the first value that could be made; errors are not kept.
type memo[T any] struct {
	mu    sync.Mutex
	made  bool
	value T
}

func (m *memo[T]) get(make func() (T, error)) (T, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.made {
		return m.value, nil
	}
	v, err := make()
	if err == nil {
		m.value, m.made = v, true
	}
	return v, err
}

// latches are locks by name.
type latches struct {
	mu   sync.Mutex
	each map[string]*sync.Mutex
}

func (l *latches) lock(name string) (unlock func()) {
	l.mu.Lock()
	if l.each == nil {
		l.each = map[string]*sync.Mutex{}
	}
	one := l.each[name]
	if one == nil {
		one = &sync.Mutex{}
		l.each[name] = one
	}
	l.mu.Unlock()
	one.Lock()
	return one.Unlock
}
