package check_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/check"
	"github.com/joelhooks/shipit/config"
	monorepo "github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/pipeline/git"
)

const twoRoles = `app: system-bus
images:
  worker: {repository: registry.test/busrig/worker, package: packages/system-bus, base: scratch, entrypoint: [bun, --no-install, run, src/serve.ts]}
  gateway: {repository: registry.test/busrig/gateway, package: packages/gateway, base: scratch, entrypoint: [bun, --no-install, run, src/daemon.ts]}
roles:
  cluster: {image: worker, kubernetes: {namespace: busrig, manifests: [k8s/worker.yaml]}}
  gateway: {image: gateway, kubernetes: {namespace: busrig, manifests: [k8s/gateway.yaml]}}
`

func podOf(name, image string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec:\n  containers:\n    - name: c\n      image: " + image +
		"\n      readinessProbe: {tcpSocket: {port: 1}}\n"
}

// committed are the findings for the sample with two roles and these files.
func committed(t *testing.T, edits map[string]string) string {
	t.Helper()
	files := map[string]string{"k8s/worker.yaml": podOf("worker", "registry.test/busrig/worker"), "k8s/gateway.yaml": podOf("gateway", "registry.test/busrig/gateway")}
	for name, text := range edits {
		files[name] = text
	}
	repo := monorepo.New(t, monorepo.Options{Config: twoRoles, Edits: files})
	return foundIn(t, repo)
}

// foundIn are the findings for HEAD.
func foundIn(t *testing.T, repo *monorepo.Repo) string {
	t.Helper()
	source, err := git.Open(t.Context(), repo.Dir, "HEAD")
	require.NoError(t, err)
	defer source.Close()
	cfg, err := config.Parse(config.File, []byte(repo.Read(config.File)), "")
	require.NoError(t, err)
	found, err := check.Commit(t.Context(), source, cfg)
	require.NoError(t, err)
	return lines(found)
}

func TestACommitIsCheckedForAllImagesAtOnce(t *testing.T) {
	require.Empty(t, committed(t, nil), "the sample is clean")
	manifest := func(name, dependencies string) string {
		return `{"name": "@busrig/` + name + `", "dependencies": {` + dependencies + `}}`
	}
	stale := `"@busrig/event-contract": "workspace:*", "hono": "^4.0.0"`
	for _, c := range []struct {
		name  string
		edits map[string]string
		want  []string
	}{
		{
			"lockfiles of two images that were not made from their manifests",
			map[string]string{"packages/system-bus/package.json": manifest("system-bus", stale), "packages/gateway/package.json": manifest("gateway", stale)},
			[]string{"refuse LockfileStale packages/gateway/package.json: ", "refuse LockfileStale packages/system-bus/package.json: "},
		},
		{
			"packages that nothing installs",
			map[string]string{"packages/gateway/package.json": manifest("gateway", stale)},
			[]string{"warn RunMissing shipit.yaml:4: packages/gateway/package.json depends on hono, and no command of run installs it"},
		},
		{
			"manifests that run other images than shipit.yaml names",
			map[string]string{"k8s/worker.yaml": podOf("worker", "registry.test/other"), "k8s/gateway.yaml": podOf("gateway", "registry.test/another")},
			[]string{"refuse cluster: ImageNot", "refuse gateway: ImageNot"},
		},
		{
			"a field of another type, at its line",
			map[string]string{"k8s/worker.yaml": strings.Replace(podOf("worker", "registry.test/busrig/worker"), "port: 1", "port: [1]", 1)},
			[]string{"refuse cluster: BadManifest k8s/worker.yaml"},
		},
		{
			"a Secret with values",
			map[string]string{"k8s/worker.yaml": podOf("worker", "registry.test/busrig/worker") + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n"},
			[]string{"refuse cluster: SecretInManifests "},
		},
		{
			"pointers of Git LFS, also where no attributes say so",
			map[string]string{"packages/gateway/model.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"},
			[]string{"refuse LFSPointer packages/gateway/model.bin: "},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := committed(t, c.edits)
			for _, want := range c.want {
				require.Contains(t, got, want)
			}
		})
	}
}

// A blob that a partial clone lacks is told by its path, once.
func TestAFileThatTheCloneLacksIsNotRead(t *testing.T) {
	repo := monorepo.New(t, monorepo.Options{Config: "app: system-bus\nimages: {worker: {repository: registry.test/busrig/worker, package: packages/system-bus, base: scratch, entrypoint: [bun, --no-install, run, src/serve.ts]}}\n" +
		"roles: {cluster: {image: worker, kubernetes: {namespace: busrig}, port: 3111, probe: {path: /}}}\ncheck: {forbid: [{pattern: never-there}]}\n", Edits: map[string]string{"docs/note.md": "gone\n"}})
	id := repo.Git("rev-parse", "HEAD:docs/note.md")
	require.NoError(t, os.Remove(filepath.Join(repo.Dir, ".git", "objects", id[:2], id[2:])))
	require.Equal(t, "warn NotRead docs/note.md: object "+id+" is missing from this clone\n", foundIn(t, repo))
}
