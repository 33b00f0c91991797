package registry

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/stretchr/testify/require"
)

// imageFor is a random image for a platform.
func imageFor(t *testing.T, p v1.Platform) v1.Image {
	t.Helper()
	image, err := random.Image(64, 1)
	require.NoError(t, err)
	config, err := image.ConfigFile()
	require.NoError(t, err)
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	image, err = mutate.ConfigFile(image, config)
	require.NoError(t, err)
	return image
}

func TestTheImageForAPlatformIsItsOwn(t *testing.T) {
	linux, mac := v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}, v1.Platform{OS: "darwin", Architecture: "arm64"}
	onLinux, onMac := imageFor(t, linux), imageFor(t, mac)
	both := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: onMac, Descriptor: v1.Descriptor{Platform: &mac}}, mutate.IndexAddendum{Add: onLinux, Descriptor: v1.Descriptor{Platform: &linux}})
	s := serve(t, nil)
	c, _ := client(Options{})
	ctx := t.Context()
	for tag, a := range map[string]Artifact{sha1: both, sha2: onLinux} {
		_, err := c.Publish(ctx, Publication{Repository: s.host + "/app/worker", Artifact: a, SHA: tag})
		require.NoError(t, err)
	}
	ref := s.host + "/app/worker:"
	for platform, want := range map[string]v1.Image{"linux/arm64": onLinux, "darwin/arm64": onMac} {
		got, err := c.ImageFor(ctx, ref+sha1, platform)
		require.NoError(t, err)
		require.Equal(t, digestOf(t, want), digestOf(t, got), platform)
	}
	var missing *NoPlatformError
	_, err := c.ImageFor(ctx, ref+sha1, "linux/amd64")
	require.ErrorAs(t, err, &missing)
	require.Equal(t, []string{"darwin/arm64", "linux/arm64/v8"}, missing.Has)
	require.EqualError(t, err, ref+sha1+" has no image for linux/amd64, only for darwin/arm64, linux/arm64/v8")
	require.Contains(t, missing.Hint(), "add linux/amd64 to images.*.platforms")

	got, err := c.ImageFor(ctx, ref+sha2, "linux/arm64")
	require.NoError(t, err)
	require.Equal(t, digestOf(t, onLinux), digestOf(t, got))
	_, err = c.ImageFor(ctx, ref+sha2, "darwin/arm64")
	require.EqualError(t, err, ref+sha2+" has no image for darwin/arm64, only for linux/arm64/v8")
}

// Images of old builders name neither a system nor an architecture.
func TestAnImageThatNamesNoPlatformHasAnUnknownOne(t *testing.T) {
	s := serve(t, nil)
	c, _ := client(Options{})
	_, err := c.Publish(t.Context(), Publication{Repository: s.host + "/app/worker", Artifact: imageFor(t, v1.Platform{}), SHA: sha1})
	require.NoError(t, err)
	ref := s.host + "/app/worker:" + sha1
	has, err := c.Platforms(t.Context(), ref)
	require.NoError(t, err)
	require.Empty(t, has)
	_, err = c.ImageFor(t.Context(), ref, "linux/amd64")
	require.EqualError(t, err, ref+" has no image for linux/amd64, only for unknown/unknown")
}
