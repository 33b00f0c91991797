package attest

import "sync"

// memo caches the first value that was made; errors are not cached.
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

// namedLocks are mutexes by name.
type namedLocks struct {
	mu   sync.Mutex
	each map[string]*sync.Mutex
}

func (l *namedLocks) lock(name string) (unlock func()) {
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
