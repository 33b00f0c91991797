package host

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/hosttest"
	"github.com/joelhooks/shipit/release"
)

func TestAnImageWithoutTheMachinesPlatformIsRefusedBeforeAnythingChanges(t *testing.T) {
	m, root := here(t)
	d := inRoot(worker(), root)
	role := roleOf(t, d)
	asked := 0
	has := func(platforms ...string) needs {
		return needs{image: role.Reference(), platforms: func(_ context.Context, ref string) ([]string, error) {
			asked++
			require.Equal(t, role.Reference(), ref)
			return platforms, nil
		}}
	}
	found, err := m.space(t.Context(), d, has("darwin/arm64", "linux/s390x"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, release.CodeNoMatchingPlatform, found[0].Code)
	require.Equal(t, release.Refuses, found[0].Severity)
	require.Equal(t, "the image is for darwin/arm64, linux/s390x and "+m.Name+" is "+m.Platform, found[0].Message)
	require.Contains(t, found[0].Hint, m.Platform)

	for _, good := range []needs{
		has("darwin/arm64", m.Platform+"/v8"), has(m.Platform), {},
		{platforms: func(context.Context, string) ([]string, error) { return nil, errors.New("the registry is away") }},
	} {
		found, err = m.space(t.Context(), d, good)
		require.NoError(t, err)
		require.Empty(t, found)
	}
	before := asked
	require.NoError(t, m.store(d).PrepareStaging(t.Context()))
	tree := contentOf(layerOf(t, hosttest.File("a", "a")))(t.Context(), "", "")
	defer tree.Close()
	_, err = m.store(d).Unpack(t.Context(), d.Digest, tree, "")
	require.NoError(t, err)
	found, err = m.space(t.Context(), d, has("darwin/arm64"))
	require.NoError(t, err)
	require.Empty(t, found, "what is on the machine was made for it")
	require.Equal(t, before, asked, "and no registry is asked")
}
