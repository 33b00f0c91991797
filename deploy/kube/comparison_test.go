package kube

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/release"
)

func TestAClusterThatIsAwayIsToldTheSameWhateverWasToBeRead(t *testing.T) {
	away := &client.UnreachableError{Host: "https://c.test", Err: errors.New("it answers 502 Bad Gateway")}
	role := release.Role{Name: "web"}
	for _, err := range []error{away, fmt.Errorf("read what role web has: %w", away), fmt.Errorf("read what Services send traffic to: %w", away)} {
		require.EqualError(t, observing(role, err), "observe role web: cluster https://c.test is not reachable: it answers 502 Bad Gateway")
	}
	other := errors.New("pods of another shape")
	require.ErrorIs(t, observing(role, other), other)
}
