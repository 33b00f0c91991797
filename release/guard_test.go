package release_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

func TestGuardsAreAskedInOrderAndMayRefuse(t *testing.T) {
	var asked []string
	guard := func(name string, refuse error) release.Guard {
		return release.Guard{
			Before: func(_ context.Context, w release.Write) error {
				asked = append(asked, name+" before "+string(w))
				return refuse
			},
			After: func(w release.Write) { asked = append(asked, name+" after "+string(w)) },
		}
	}
	done, err := release.BeforeWrite(t.Context(), "free")
	require.NoError(t, err)
	done()

	outer := release.WithGuard(t.Context(), guard("outer", nil))
	inner := release.WithGuard(outer, guard("inner", nil))
	done, err = release.BeforeWrite(context.WithoutCancel(inner), "x")
	require.NoError(t, err)
	done()
	require.Equal(t, []string{"outer before x", "inner before x", "outer after x", "inner after x"}, asked)

	asked = nil
	_, err = release.BeforeWrite(release.WithGuard(outer, guard("late", errors.New("lost"))), "y")
	require.EqualError(t, err, "lost")
	done, err = release.BeforeWrite(outer, "z")
	require.NoError(t, err)
	done()
	require.Equal(t, []string{"outer before y", "late before y", "outer before z", "outer after z"}, asked, "a context keeps no guard of one made from it")
}
