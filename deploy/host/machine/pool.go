package machine

import (
	"context"
	"errors"
	"sync"

	"github.com/joelhooks/shipit/config"
)

// Pool has one connection for each address, shared by the roles there.
type Pool struct {
	o     Options
	dials locks
	mu    sync.Mutex
	known map[string]*Machine
}

// NewPool has no connection yet.
func NewPool(o Options) *Pool { return &Pool{o: o, known: map[string]*Machine{}} }

// Key tells machines, and ways to one machine, apart.
func Key(h config.Host) string { return h.Address + "\x00" + h.Key + "\x00" + h.KnownHosts }

// Of is the machine of h, connected at the first call for its address. A
// connection that was lost is made again. Several machines are dialled at once.
func (p *Pool) Of(ctx context.Context, h config.Host) (*Machine, error) {
	key := Key(h)
	defer p.dials.lock(key)()
	p.mu.Lock()
	m, ok := p.known[key]
	p.mu.Unlock()
	if ok && m.via.alive() {
		return m, nil
	}
	m, err := connect(ctx, h, p.o)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.known[key] = m
	p.mu.Unlock()
	return m, nil
}

// Close ends all connections.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for key, m := range p.known {
		errs = append(errs, m.Close())
		delete(p.known, key)
	}
	return errors.Join(errs...)
}

// locks is a mutex for each key; the zero value works.
type locks struct {
	mu   sync.Mutex
	keys map[string]*sync.Mutex
}

// lock waits for the key and returns what unlocks it.
func (l *locks) lock(key string) (unlock func()) {
	l.mu.Lock()
	if l.keys == nil {
		l.keys = map[string]*sync.Mutex{}
	}
	one := l.keys[key]
	if one == nil {
		one = &sync.Mutex{}
		l.keys[key] = one
	}
	l.mu.Unlock()
	one.Lock()
	return one.Unlock
}
