package cluster

import (
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// Two clusters that start at once may find the same port free.
func TestAPortThatAnotherProgramTookIsNotTheEnd(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for name, c := range map[string]struct {
		free  int // the try whose port is free; 0: none
		other error
		tries int
	}{
		"once":                   {free: 2, tries: 2},
		"each time":              {tries: 3},
		"an error of other kind": {other: errors.New("no such file"), tries: 1},
	} {
		t.Run(name, func(t *testing.T) {
			tries := 0
			err := whilePortsAreTaken(func() error {
				tries++
				if tries == c.free || c.other != nil {
					return c.other
				}
				_, err := net.Listen("tcp", taken.Addr().String())
				return err
			})
			require.Equal(t, c.free > 0, err == nil, "%v", err)
			require.Equal(t, c.tries, tries)
		})
	}
}
