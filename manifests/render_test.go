package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

var update = flag.Bool("update", false, "rewrite what the archives in testdata want")

// Each archive is a commit's tree with, under want/, what each role renders to:
// YAML, the service definition's content, or the error.
func TestRenderedRolesAreAsRecorded(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".txtar"), "-", " ")
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			require.NoError(t, err)
			tree := treeOf(archive)
			cfg, err := config.Parse(config.File, tree[config.File], "")
			require.NoError(t, err)
			for _, role := range cfg.Roles {
				want := "want/" + role.Name
				got := rendered(t, inputFor(cfg, role, tree))
				if *update {
					set(archive, want, got)
					continue
				}
				require.Equal(t, string(tree[want]), string(got), "role %s", role.Name)
			}
			if *update {
				require.NoError(t, os.WriteFile(file, txtar.Format(archive), 0o644))
			}
		})
	}
}

func TestEqualBitsRenderEqualTemplates(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/the-first-users-worker.txtar")
	require.NoError(t, err)
	tree := treeOf(archive)
	cfg, err := config.Parse(config.File, tree[config.File], "")
	require.NoError(t, err)
	for _, role := range cfg.Roles {
		t.Run("another commit and version change annotations of "+role.Name+" alone", func(t *testing.T) {
			in := inputFor(cfg, role, tree)
			one, err := render(in)
			require.NoError(t, err)
			in.SHA, in.Version = strings.Repeat("b", 40), "2.0.0"
			two, err := render(in)
			require.NoError(t, err)
			require.Len(t, two, len(one))
			for i := range one {
				a, b := fieldsOf(t, one[i]), fieldsOf(t, two[i])
				if role.Kubernetes != nil {
					notes := b["metadata"].(map[string]any)["annotations"].(map[string]any)
					require.Equal(t, strings.Repeat("b", 40), notes["shipit.dev/sha"])
					delete(a["metadata"].(map[string]any), "annotations")
					delete(b["metadata"].(map[string]any), "annotations")
				}
				require.Equal(t, a, b)
			}
		})
	}
}

func TestApplySetIDFollowsTheKEP(t *testing.T) {
	// base64url(sha256("shipit-a-b.c.ConfigMap.")), reckoned with other tools.
	require.Equal(t, "applyset-SU0Ls0LVaFadeSYxM9JWI0vZ5CAWwxehZdmFbtj_G4E-v1", applySetID(applySetName("a", "b"), "c"))
}

func TestFaultsNameTheirPlace(t *testing.T) {
	const image = "ghcr.io/joelhooks/system-bus-worker"
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: " + image + "}]}\n"
	for _, tc := range []struct {
		name, yaml, want string
		code             release.Code
	}{
		{"a syntax error in the second document names the file's line", pod + "---\napiVersion: v1\nkind: [\n", "k8s/a.yaml:7: did not find expected node content", release.CodeBadManifest},
		{"a key that is declared twice is named", pod + "kind: Pod\n", `k8s/a.yaml:5: key "kind" already set in map`, release.CodeBadManifest},
		{"a document without apiVersion is named", pod + "---\n# note\nkind: Pod\n", "k8s/a.yaml:7: Pod: has no apiVersion", release.CodeBadManifest},
		{"a document without kind is named", pod + "---\napiVersion: v1\n", "k8s/a.yaml:6: has no kind", release.CodeBadManifest},
		{"an object without a name is refused", pod + "---\napiVersion: v1\nkind: Pod\nmetadata: {generateName: p-}\n", "k8s/a.yaml:6: Pod: has no metadata.name", release.CodeBadManifest},
		{"text is no object", "just text\n", "k8s/a.yaml:1: is no mapping, so no Kubernetes object", release.CodeBadManifest},
		{"an empty file holds no object", "# nothing yet\n", "k8s/a.yaml: holds no object", release.CodeBadManifest},
		{"one object may not be declared twice", pod + "---\n" + pod, "k8s/a.yaml:6: Pod joelclaw/p: is declared twice, first in k8s/a.yaml:1", release.CodeDuplicate},
		{"a foreign image by tag is refused", strings.Replace(pod, "containers:", "initContainers: [{name: wait, image: 'busybox:1'}], containers:", 1), `k8s/a.yaml:1: Pod joelclaw/p: container wait: image "busybox:1" is not pinned by digest`, release.CodeImageNotPinned},
		{"an image volume by tag is refused", strings.Replace(pod, "containers:", "volumes: [{name: v, image: {reference: 'a/b:1'}}], containers:", 1), `k8s/a.yaml:1: Pod joelclaw/p: volume v: image "a/b:1" is not pinned by digest`, release.CodeImageNotPinned},
		{"a CronJob's image is looked at", pod + "---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {name: j}\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c, image: 'x:1'}]}}}}}\n", `k8s/a.yaml:6: CronJob joelclaw/j: container c: image "x:1" is not pinned by digest`, release.CodeImageNotPinned},
		{"a container without an image is refused", strings.Replace(pod, ", image: "+image, "", 1), "k8s/a.yaml:1: Pod joelclaw/p: container c: names no image", release.CodeImageNotPinned},
		{"manifests that never run the image are refused", strings.Replace(pod, image, "ghcr.io/joelhooks/system-bus@sha256:"+strings.Repeat("1", 64), 1), "k8s/a.yaml: role cluster: no container runs " + image, release.CodeImageNotMentioned},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := render(simple(image, map[string]string{"k8s/a.yaml": tc.yaml}, "k8s/a.yaml"))
			var fault *Error
			require.ErrorAs(t, err, &fault)
			require.Equal(t, tc.want, fault.Error())
			require.EqualValues(t, tc.code, fault.Code)
		})
	}
	t.Run("a path that is not in the commit is named", func(t *testing.T) {
		_, err := render(simple(image, nil, "k8s/gone.yaml"))
		require.EqualError(t, err, "k8s/gone.yaml: is neither a file nor a folder of the commit")
	})
	t.Run("a folder without manifests is named", func(t *testing.T) {
		_, err := render(simple(image, map[string]string{"k8s/deep/a.yaml": pod, "k8s/README.md": "x"}, "k8s"))
		require.ErrorContains(t, err, "k8s: no .yaml, .yml or .json file in it holds an object")
	})
}

func TestKustomizationsStayInTheTree(t *testing.T) {
	for _, tc := range []struct{ name, kustomization, want string }{
		{"a base by URL", "resources: ['https://example.com/base?ref=main']", "resources: \"https://example.com/base?ref=main\" is not in the commit"},
		{"a base by URL under a key in another case", "Resources: ['https://example.com/base?ref=main']", "\"https://example.com/base?ref=main\" is not in the commit"},
		{"a base by URL under a key of letters that fold to it", "reſources: ['https://example.com/base?ref=main']", "\"https://example.com/base?ref=main\" is not in the commit"},
		{"a patch by URL under keys in another case", "PATCHES: [{Path: 'https://example.com/p.yaml'}]", "\"https://example.com/p.yaml\" is not in the commit"},
		{"a base by GitHub shorthand", "resources: [github.com/a/b]", "resources: \"github.com/a/b\" is not in the commit"},
		{"a base by SSH", "resources: ['git@example.com:a/b']", "is not in the commit"},
		{"a patch by URL", "patches: [{path: 'https://example.com/p.yaml'}]", "path: \"https://example.com/p.yaml\" is not in the commit"},
		{"a file of a generated ConfigMap by URL", "configMapGenerator: [{name: m, files: ['k=https://example.com/f']}]", "is not in the commit"},
		{"a base outside the repository", "resources: [../../up]", "is outside the repository"},
		{"a base that is not there", "resources: [../gone]", "/gone"},
		{"a base by URL under a key in another case", "Resources: ['http://127.0.0.1:1/base']", "Resources: \"http://127.0.0.1:1/base\" is not in the commit"},
		{"a patch by URL under a key in another case", "patches: [{Path: 'http://127.0.0.1:1/p.yaml'}]", "is not in the commit"},
		{"a schema by URL under keys in another case", "OpenAPI: {PATH: 'http://127.0.0.1:1/s.json'}", "is not in the commit"},
		{"a patch by URL in a transformer that the kustomization holds itself", "transformers: [\"{apiVersion: builtin, kind: PatchTransformer, metadata: {name: t}, path: 'http://127.0.0.1:1/p.yaml'}\"]", "is not in the commit"},
		{"a base by URL in capitals", "resources: ['HTTPS://127.0.0.1:1/base']", "is not in the commit"},
		{"a base by URL without slashes", "resources: ['http:base']", "is not in the commit"},
		{"a Helm chart", "helmCharts: [{name: c, repo: 'https://127.0.0.1:1/charts'}]", "must specify --enable-helm"},
		{"a patch by URL in a transformer's file", "transformers: [t.yaml]", "path: \"http://example.com/p.yaml\" is not in the commit"},
	} {
		t.Run(tc.name+" is refused", func(t *testing.T) {
			in := simple("ghcr.io/a/b", map[string]string{
				"k8s/kustomization.yaml": tc.kustomization + "\n",
				"k8s/t.yaml":             "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: t}\npath: http://example.com/p.yaml\n",
			}, "k8s")
			_, err := render(in)
			var fault *Error
			require.ErrorAs(t, err, &fault)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestLongNamesFitALabel(t *testing.T) {
	in := simple("ghcr.io/a/b", nil)
	in.App, in.Role.Name = strings.Repeat("a", 40), strings.Repeat("b", 40)
	objects, err := render(in)
	require.NoError(t, err)
	name := fieldsOf(t, objects[0])["metadata"].(map[string]any)["name"].(string)
	require.Len(t, name, 63)
	in.Role.Name = strings.Repeat("b", 39) + "c"
	objects, err = render(in)
	require.NoError(t, err)
	require.NotEqual(t, name, fieldsOf(t, objects[0])["metadata"].(map[string]any)["name"], "names that differ at the end stay different")
}

func TestNotesTellWhatIsOdd(t *testing.T) {
	in := simple("ghcr.io/a/b", map[string]string{"k.yaml": `apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {containers: [{name: c, image: ghcr.io/a/b}]}
---
apiVersion: v1
kind: Secret
metadata: {name: s, namespace: elsewhere}
stringData: {password: hunter2}
`}, "k.yaml")
	objects, err := render(in)
	require.NoError(t, err)
	notes, err := notesOf(in.Role, objects)
	require.NoError(t, err)
	var lines []string
	for _, n := range notes {
		lines = append(lines, n.String())
		require.NotContains(t, n.String(), "hunter2")
	}
	require.Equal(t, []string{
		"cluster: NoReadinessProbe Pod joelclaw/p: container c has no readiness probe: it counts as ready before it has done anything",
		"cluster: OtherNamespace Secret elsewhere/s: is outside the role's namespace joelclaw",
		"cluster: SecretInManifests Secret elsewhere/s: its values are in the commit, and would be kept with every record and its copy in the registry",
	}, lines)
}

func TestAProbeOfTheRoleStandsInForAReadinessProbe(t *testing.T) {
	in := simple("ghcr.io/a/b", map[string]string{"k.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: ghcr.io/a/b}]}\n"}, "k.yaml")
	objects, err := render(in)
	require.NoError(t, err)
	in.Role.Probe = &config.Probe{Path: "/"}
	notes, err := notesOf(in.Role, objects)
	require.NoError(t, err)
	require.Empty(t, notes)
}

// BenchmarkRender renders 500 objects of one file.
func BenchmarkRender(b *testing.B) {
	var all strings.Builder
	for i := range 250 {
		fmt.Fprintf(&all, "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d%d}\nspec:\n  selector: {matchLabels: {app: d%d}}\n  template:\n    metadata: {labels: {app: d%d}}\n    spec:\n      containers:\n      - name: c\n        image: ghcr.io/a/b:v1\n        resources: {limits: {cpu: 100m, memory: 128Mi}}\n        readinessProbe: {httpGet: {path: /, port: 80}}\n", i, i, i)
		fmt.Fprintf(&all, "---\napiVersion: v1\nkind: Service\nmetadata: {name: d%d}\nspec:\n  selector: {app: d%d}\n  ports: [{port: 80}]\n", i, i)
	}
	in := simple("ghcr.io/a/b", map[string]string{"k.yaml": all.String()}, "k.yaml")
	for b.Loop() {
		_, err := render(in)
		require.NoError(b, err)
	}
}

const workerDigest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

func inputFor(cfg config.Config, role config.Role, tree memory) roleInput {
	pinned := map[string]string{}
	for _, img := range cfg.Images {
		pinned[img.Repository] = "sha256:" + strings.Repeat("2", 64)
	}
	img := cfg.Images[role.Image]
	return roleInput{
		App: cfg.App, SHA: strings.Repeat("a", 40), Version: "1.4.2", Role: role, Image: img,
		Repository: img.Repository, Digest: workerDigest, Pinned: pinned, Tree: tree, Deadline: 2 * time.Minute,
	}
}

func simple(repository string, files map[string]string, paths ...string) roleInput {
	tree := memory{}
	for name, data := range files {
		tree[name] = []byte(data)
	}
	return roleInput{
		App: "system-bus", SHA: strings.Repeat("a", 40), Repository: repository, Digest: workerDigest, Tree: tree,
		Role: config.Role{Name: "cluster", Image: "worker", Kubernetes: &config.Kubernetes{Namespace: "joelclaw", Manifests: paths}},
	}
}

// rendered is what a role renders to as people read it, or its error and hint.
func rendered(t *testing.T, in roleInput) []byte {
	t.Helper()
	objects, err := render(in)
	var fault *Error
	if errors.As(err, &fault) {
		return []byte(fmt.Sprintf("error: %s\nhint: %s\n", fault, fault.Hint))
	}
	require.NoError(t, err)
	for _, o := range objects {
		var compact bytes.Buffer
		require.NoError(t, json.Compact(&compact, o))
		require.Equal(t, compact.String(), string(o), "canonical JSON has no spaces")
		again, err := json.Marshal(json.RawMessage(o))
		require.NoError(t, err)
		require.Equal(t, string(again), string(o), "canonical JSON outlives a round through encoding/json")
	}
	if in.Role.Host != nil {
		fields := fieldsOf(t, objects[0])
		content := fields["content"].(string)
		delete(fields, "content")
		head, err := json.MarshalIndent(fields, "", "  ")
		require.NoError(t, err)
		return []byte(string(head) + "\n" + content)
	}
	return YAML(objects)
}

func fieldsOf(t *testing.T, raw json.RawMessage) map[string]any {
	t.Helper()
	var fields map[string]any
	require.NoError(t, json.Unmarshal(raw, &fields))
	return fields
}

// memory is a tree by path.
type memory map[string][]byte

func (m memory) ReadFile(path string) ([]byte, error) {
	if data, ok := m[path]; ok {
		return data, nil
	}
	return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
}

func (m memory) List(dir string) ([]string, error) {
	var files []string
	for path := range m {
		if dir == "." || path == dir || strings.HasPrefix(path, dir+"/") {
			files = append(files, path)
		}
	}
	return files, nil
}

func treeOf(archive *txtar.Archive) memory {
	m := memory{}
	for _, f := range archive.Files {
		m[f.Name] = f.Data
	}
	return m
}

func set(archive *txtar.Archive, name string, data []byte) {
	for i, f := range archive.Files {
		if f.Name == name {
			archive.Files[i].Data = data
			return
		}
	}
	archive.Files = append(archive.Files, txtar.File{Name: name, Data: data})
}
