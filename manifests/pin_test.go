package manifests

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

const (
	ownImage  = "ghcr.io/joelhooks/system-bus-worker"
	ownPinned = ownImage + "@" + workerDigest
	ownPod    = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: " + ownImage + "}]}\n---\n"
)

// yamlOf renders a role whose one manifest is given, and is the YAML of it all.
func yamlOf(t *testing.T, manifest string) string {
	t.Helper()
	objects, err := render(simple(ownImage, map[string]string{"k.yaml": manifest}, "k.yaml"))
	require.NoError(t, err)
	return string(YAML(objects))
}

func TestAnObjectWithAKeyThatYAMLRefusesIsWrittenAsJSON(t *testing.T) {
	key := strings.Repeat("k", 1025)
	require.Equal(t, "---\n{\""+key+"\":1}\n---\na: 1\n", string(YAML([]json.RawMessage{json.RawMessage(`{"` + key + `":1}`), json.RawMessage(`{"a":1}`)})))
}

func TestTheReleasesImagesArePinnedWhereverTheyAre(t *testing.T) {
	other := "@sha256:" + strings.Repeat("9", 64)
	for _, tc := range []struct{ name, manifest, want string }{
		{"the template of a custom resource", "apiVersion: keda.sh/v1alpha1\nkind: ScaledJob\nmetadata: {name: j}\nspec:\n  jobTargetRef:\n    template:\n      spec: {containers: [{name: c, image: '" + ownImage + ":latest'}]}\n", "image: " + ownPinned},
		{"a field of a custom resource that is an image", ownPod + "apiVersion: example.com/v1\nkind: Function\nmetadata: {name: f}\nspec: {runner: {image: '" + ownImage + "'}}\n", "  runner:\n    image: " + ownPinned},
		{"any other text of a custom resource", ownPod + "apiVersion: example.com/v1\nkind: Function\nmetadata: {name: f}\nspec: {runner: '" + ownImage + ":v1'}\n", "runner: " + ownPinned},
		{"the value of an environment variable", strings.Replace(ownPod, "}]}", ", env: [{name: JOB_IMAGE, value: '"+ownImage+":latest'}]}]}", 1), "value: " + ownPinned},
		{"an argument of a command", strings.Replace(ownPod, "}]}", ", args: ['--image="+ownImage+":latest', 'x']}]}", 1), "- --image=" + ownPinned},
		{"a ConfigMap of what a controller starts", ownPod + "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {job.yaml: 'image: " + ownImage + ":v1.2'}\n", "job.yaml: 'image: " + ownPinned + "'"},
		{"a digest that a user chose stays where no container runs it", ownPod + "apiVersion: example.com/v1\nkind: Function\nmetadata: {name: f}\nspec: {runner: '" + ownImage + other + "'}\n", "runner: " + ownImage + other},
		{"the name of a repository alone stays outside of an image field", strings.Replace(ownPod, "}]}", ", env: [{name: REPOSITORY, value: '"+ownImage+"'}]}]}", 1), "value: " + ownImage + "\n"},
		{"a repository whose name only begins so is another", ownPod + "apiVersion: example.com/v1\nkind: Function\nmetadata: {name: f}\nspec: {runner: '" + ownImage + "-next:v1'}\n", "runner: " + ownImage + "-next:v1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Contains(t, yamlOf(t, tc.manifest), tc.want)
		})
	}
	t.Run("the image of another role of the release has that one's digest", func(t *testing.T) {
		in := simple(ownImage, map[string]string{"k.yaml": strings.Replace(ownPod, "}]}", ", env: [{name: JOB, value: 'ghcr.io/a/gateway:v1'}]}]}", 1)}, "k.yaml")
		in.Pinned = map[string]string{"ghcr.io/a/gateway": "sha256:" + strings.Repeat("2", 64)}
		objects, err := render(in)
		require.NoError(t, err)
		require.Contains(t, string(objects[0]), `"value":"ghcr.io/a/gateway@sha256:`+strings.Repeat("2", 64)+`"`)
	})
	t.Run("a foreign image by tag in the template of a custom resource is refused", func(t *testing.T) {
		_, err := render(simple(ownImage, map[string]string{"k.yaml": ownPod + "apiVersion: keda.sh/v1alpha1\nkind: ScaledJob\nmetadata: {name: j}\nspec: {jobTargetRef: {template: {spec: {containers: [{name: c, image: 'busybox:1'}]}}}}\n"}, "k.yaml"))
		var fault *Error
		require.ErrorAs(t, err, &fault)
		require.Equal(t, release.CodeImageNotPinned, fault.Code)
	})
}
