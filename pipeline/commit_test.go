package pipeline

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/release"
)

// twoImages is a commit of the sample with two images.
func twoImages(t *testing.T, edits map[string]string) Commit {
	t.Helper()
	repo := sample.New(t, sample.Options{Edits: edits, Config: `app: system-bus
images:
  gateway: {repository: r.test/busrig/gateway, package: packages/gateway, base: scratch}
  worker: {repository: r.test/busrig/worker, package: packages/system-bus, base: scratch}
roles:
  cluster: {image: worker, kubernetes: {namespace: busrig}}
  gateway: {image: gateway, kubernetes: {namespace: busrig}}
`})
	source, err := git.Open(t.Context(), repo.Dir, "HEAD")
	require.NoError(t, err)
	t.Cleanup(func() { _ = source.Close() })
	cfg, err := config.Parse(config.File, []byte(repo.Read(config.File)), "")
	require.NoError(t, err)
	return Commit{Source: source, Config: cfg}
}

func TestTheFaultsOfAllImagesAreNamed(t *testing.T) {
	fault := func(_ Publisher, _ context.Context, in Inputs) (Image, error) {
		return Image{}, &release.Refusal{Findings: []release.Finding{{Code: release.CodeImportUnresolved, Severity: release.Refuses, Object: in.Name}}}
	}
	t.Run("those of their inputs", func(t *testing.T) {
		manifest := `{"dependencies": {"x": "link:../../../x"}}`
		c := twoImages(t, map[string]string{"packages/gateway/package.json": manifest, "packages/system-bus/package.json": manifest})
		_, err := Publisher{}.EachImage(t.Context(), c, fault)
		require.ErrorContains(t, err, "packages/gateway/package.json")
		require.ErrorContains(t, err, "packages/system-bus/package.json")
		require.NotContains(t, err.Error(), "ImportUnresolved", "nothing is built of what cannot be")
	})
	t.Run("those of their builds", func(t *testing.T) {
		_, err := Publisher{}.EachImage(t.Context(), twoImages(t, nil), fault)
		var refusal *release.Refusal
		require.ErrorAs(t, err, &refusal)
		require.Len(t, refusal.Findings, 2)
	})
	t.Run("one fault names its image", func(t *testing.T) {
		_, err := Publisher{}.EachImage(t.Context(), twoImages(t, nil), func(p Publisher, ctx context.Context, in Inputs) (Image, error) {
			if in.Name == "gateway" {
				return Image{}, nil
			}
			return fault(p, ctx, in)
		})
		require.ErrorContains(t, err, "image worker: ImportUnresolved")
	})
	t.Run("an error of another kind ends it", func(t *testing.T) {
		calls := 0
		_, err := Publisher{}.EachImage(t.Context(), twoImages(t, nil), func(Publisher, context.Context, Inputs) (Image, error) {
			calls++
			return Image{}, errors.New("no space left on device")
		})
		require.EqualError(t, err, "image gateway: no space left on device")
		require.Equal(t, 1, calls)
	})
}
