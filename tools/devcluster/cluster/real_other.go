//go:build !linux

package cluster

import (
	"context"
	"errors"
)

// CanRunReal says why there can be no real node on this machine; nil if there can.
func CanRunReal() error { return errors.New("a real node needs Linux") }

// FetchReal fetches the packages that a real node is made of.
func FetchReal(context.Context, func(string)) error { return CanRunReal() }

type nodeTraces struct{}

func (*nodeTraces) remove() error { return nil }

func dropMachineLock(mark) error { return nil }

func (*Cluster) startReal(context.Context, map[string]string) error { return CanRunReal() }
