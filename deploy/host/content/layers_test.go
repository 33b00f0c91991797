package content

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"
)

func TestAHostGetsTheLayersThatShipitPutOverTheBase(t *testing.T) {
	base := v1.History{CreatedBy: "RUN something"}
	setting := v1.History{CreatedBy: "ENV A=b", EmptyLayer: true}
	own := v1.History{CreatedBy: "shipit"}
	for name, c := range map[string]struct {
		layers  int
		history []v1.History
		want    []int // of the layers; none: an error
	}{
		"a base that says of each layer what made it": {4, []v1.History{base, setting, base, own, own}, []int{2, 3}},
		"a base without history":                      {4, []v1.History{own, own}, []int{2, 3}},
		"a base with too little history":              {4, []v1.History{base, setting, own, own}, []int{2, 3}},
		"a base with too much history":                {3, []v1.History{base, base, base, own, own}, []int{1, 2}},
		"a base that holds nothing":                   {1, []v1.History{own}, []int{0}},
		"a base over layers of shipit":                {3, []v1.History{own, base, own}, []int{2}},
		"an image that shipit did not make":           {2, []v1.History{base, base}, nil},
		"more history of shipit than layers":          {1, []v1.History{own, own}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			img := empty.Image
			for range c.layers {
				l, err := random.Layer(16, types.OCILayer)
				require.NoError(t, err)
				img, err = mutate.AppendLayers(img, l)
				require.NoError(t, err)
			}
			config, err := img.ConfigFile()
			require.NoError(t, err)
			config = config.DeepCopy()
			config.History = c.history
			img, err = mutate.ConfigFile(img, config)
			require.NoError(t, err)
			got, err := Layers(img)
			if c.want == nil {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			var want, have []string
			for _, i := range c.want {
				want = append(want, config.RootFS.DiffIDs[i].String())
			}
			for _, l := range got {
				have = append(have, l.DiffID)
			}
			require.Equal(t, want, have)
		})
	}
}
