// Package config turns shipit.yaml into values. Unknown keys, wrong types and
// missing settings are errors that name the file, the line and the key.
package config

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// File is the name of the configuration at the monorepo's root.
const File = "shipit.yaml"

// PlaceholderDigest stands where a digest is not known yet. `shipit init` writes it.
const PlaceholderDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// SchemaURL is where editors find the JSON Schema of the file: a comment
// "# yaml-language-server: $schema=" with it, on the first line, shows them the way.
const SchemaURL = "https://raw.githubusercontent.com/joelhooks/shipit/main/shipit.schema.json"

// Config is what one monorepo ships. Its tags declare every key of the file, for
// the parser, the schema, docs/config.md and the explanations: doc is what the key
// is, each what one of its values or items is, default what holds without it (in
// parentheses if it is no value), example a value in YAML, choices the only values,
// rule the form of its text, min and max its bounds; required keys have no default.
type Config struct {
	Path string `yaml:"-"` // the file it was read from, for messages
	Dir  string `yaml:"-"` // where relative paths of this machine's files start; Load and Parse give that of Path

	Environment string `yaml:"-"` // that --env named, and whose settings lie over the rest; empty: none

	App          string               `yaml:"app" doc:"The name of what is released. It names the ledger, the lock and the labels." required:"true" rule:"name" example:"system-bus"`
	Source       string               `yaml:"source" doc:"The https URL of the repository, for the label org.opencontainers.image.source." example:"https://github.com/joelhooks/joelclaw"`
	Builder      string               `yaml:"builder" doc:"What builds the images: Dagger, the embedded builder, or what there is." default:"auto" choices:"auto dagger embedded"`
	Images       map[string]Image     `yaml:"images" doc:"The images that are built, by name." each:"One OCI image, made from a workspace package and what it links to." required:"true"`
	Roles        Roles                `yaml:"roles" doc:"The running parts, by name, in the order in which they are switched. If one fails, all go back." each:"One running part. It has exactly one of kubernetes and host." required:"true"`
	Keep         []string             `yaml:"keep" doc:"Roles of earlier releases that are left as they are, though roles names them no more." example:"[old-worker]"`
	Ledger       string               `yaml:"ledger" doc:"The namespace of the cluster that keeps the records and the lock." default:"(that of the first role in Kubernetes)" example:"system-bus-releases"`
	Functions    Functions            `yaml:"functions" doc:"How function ids are owned."`
	Check        Check                `yaml:"check" doc:"What must not be in the tree."`
	Signing      Signing              `yaml:"signing" doc:"Who signs, and what is demanded before a release runs."`
	Notify       Notify               `yaml:"notify" doc:"Who is told of a release, rollback or promotion while it runs."`
	Timeout      Duration             `yaml:"timeout" doc:"The limit of one rollout." default:"5m" example:"10m"`
	Environments map[string]yaml.Node `yaml:"environments" doc:"Settings that --env NAME lays over the rest: mappings key by key, everything else is replaced." each:"The settings of one environment."`
}

// Image is one OCI image made from a workspace package and what it links to.
type Image struct {
	Repository string             `yaml:"repository" doc:"Where the image is pushed: registry/owner/name, without a tag." required:"true" rule:"repository" example:"ghcr.io/joelhooks/system-bus-worker"`
	Package    string             `yaml:"package" doc:"The folder of the package, from the root of the repository. Its workspace closure is what goes in." required:"true" rule:"path" example:"packages/system-bus"`
	Base       string             `yaml:"base" doc:"The image that it is built on, by digest, or scratch." required:"true" rule:"base" example:"docker.io/oven/bun@sha256:5f1c3b0e9a8d7264c1e0f5a39b2d8c7764a5e3f2b1908d7c6e5f4a3b2c1d0e9f"`
	Platforms  []string           `yaml:"platforms" doc:"The platforms that are built, as os/arch: those of the nodes and of the machines that run it. Packages are installed for each of them by pnpm, npm or bun from one lockfile. Those of Macs, such as darwin/arm64, have no base: a machine brings its own runtime." default:"(those of the base; linux/amd64 for scratch)" rule:"platform" example:"[linux/arm64, darwin/arm64]"`
	Run        [][]string         `yaml:"run" doc:"Commands that install and build, in order, in the root of the repository. Without any, the workspace packages are linked and nothing else." example:"[[pnpm, install, --frozen-lockfile, --prod, --filter, '@joelclaw/system-bus...']]"`
	Toolchain  string             `yaml:"toolchain" doc:"The image, by digest, in which Dagger runs the commands of run and test; it needs one where there are any." rule:"pinned" example:"docker.io/library/node@sha256:5f1c3b0e9a8d7264c1e0f5a39b2d8c7764a5e3f2b1908d7c6e5f4a3b2c1d0e9f"`
	Secrets    []string           `yaml:"secrets" doc:"Environment variables that the commands of run may read. They are never part of the key or the image." example:"[NPM_TOKEN]"`
	Caches     []string           `yaml:"caches" doc:"Paths that Dagger keeps between builds. Nothing in them is in the image." example:"[/root/.local/share/pnpm/store]"`
	Sharing    string             `yaml:"cacheSharing" doc:"How builds that run at the same time use the caches of an engine: together, each its own, or one after the other." default:"shared" choices:"shared private locked" example:"locked"`
	Test       [][]string         `yaml:"test" doc:"Commands that must pass before the image is pushed, in order, each on the files that the one before left." example:"[[bun, test]]"`
	Parallel   bool               `yaml:"parallelTests" doc:"The commands of test need nothing of each other: they run at the same time, and with Dagger each on files of its own." default:"false" example:"true"`
	Services   map[string]Service `yaml:"services" doc:"What the commands of test talk to, by name. They find a service by the variables NAME_HOST and NAME_PORT." each:"One service, such as a database. It has image for Dagger, command for the embedded builder, or both."`
	Include    []string           `yaml:"include" doc:"Further files or folders of the repository that go in." rule:"path" example:"[schemas]"`
	Entrypoint []string           `yaml:"entrypoint" doc:"The command that the image starts." example:"[bun, --no-install, run, src/serve.ts]"`
	User       string             `yaml:"user" doc:"Who runs it, as uid or uid:gid: numbers, so that Kubernetes can see that it is not root." default:"1000:1000" rule:"user" example:"'1000:1000'"`
	Env        map[string]string  `yaml:"env" doc:"Environment variables of the image." example:"{NODE_ENV: production}"`
	Prove      Prove              `yaml:"prove" doc:"What is tried on the built files before the push."`
	Functions  []string           `yaml:"functions" doc:"A command, run in the folder of the package, that prints the function ids of each role as {\"role\": [\"id\", …]}." example:"[bun, run, src/functions.ts]"`
}

// Service is what the tests of an image talk to, such as a database. At least one of
// Image and Command is set.
type Service struct {
	Image   string            `yaml:"image" doc:"The image, by digest, that Dagger runs." rule:"pinned" example:"docker.io/library/redis@sha256:5f1c3b0e9a8d7264c1e0f5a39b2d8c7764a5e3f2b1908d7c6e5f4a3b2c1d0e9f"`
	Args    []string          `yaml:"args" doc:"Arguments of the image's entrypoint." default:"(those of the image)" example:"[--save, '']"`
	Command []string          `yaml:"command" doc:"The command that the embedded builder runs as a process of this machine, in a folder of its own. Without it the embedded builder refuses the service." example:"[redis-server, --port, '6379']"`
	Ports   []int             `yaml:"ports" doc:"The ports that it listens on. Tests wait until each takes connections; NAME_PORT is the first." required:"true" min:"1" max:"65535" example:"[6379]"`
	Env     map[string]string `yaml:"env" doc:"Environment variables of the service." example:"{POSTGRES_PASSWORD: test}"`
	Ready   []string          `yaml:"ready" doc:"A command, run where the tests run, that is repeated until it succeeds: then the service is ready." default:"(its ports are enough)" example:"[sh, -c, 'redis-cli -h $REDIS_HOST ping']"`
	Within  Duration          `yaml:"within" doc:"How long the service has to become ready." default:"30s" example:"2m"`
}

// Prove says how a built image is tested before it is pushed.
type Prove struct {
	Entrypoints []string `yaml:"entrypoints" doc:"Files whose imports must all resolve in the image." default:"(the script of the entrypoint)" example:"[src/serve.ts]"`
	Start       Duration `yaml:"start" doc:"Starts the entrypoint as each role in a cluster has it, and lets it run so long; 0s does not start it. It runs as the image's user, with the image's owners of files and without a network, and what it writes is gone afterwards. This needs root on Linux; elsewhere the build says that it was not started." default:"0s" example:"2s"`
	Skip        bool     `yaml:"skip" doc:"Tries nothing." default:"false" example:"true"`
}

// Role is one running part. Exactly one of Kubernetes and Host is set: its Target.
type Role struct {
	Name       string            `yaml:"-"`
	Image      string            `yaml:"image" doc:"The image that it runs, one of images." required:"true" example:"worker"`
	Kubernetes *Kubernetes       `yaml:"kubernetes" doc:"Runs the role in a cluster."`
	Host       *Host             `yaml:"host" doc:"Runs the role on a machine, as a service."`
	Env        map[string]string `yaml:"env" doc:"Environment variables of the role. Secrets do not belong here." example:"{WORKER_ROLE: cluster}"`
	Port       int               `yaml:"port" doc:"The port that it listens on, for probes." min:"0" max:"65535" example:"3111"`
	Probe      *Probe            `yaml:"probe" doc:"Asks the role whether it does its work, after every switch and in status. It has exactly one of path, command and event."`
	Probes     []Probe           `yaml:"probes" doc:"More probes, asked in order." each:"One probe. It has exactly one of path, command and event."`
	Stable     Duration          `yaml:"stable" doc:"How long the role must stay up without a restart, after it was ready, for the release to settle." default:"3s" example:"10s"`
	Register   *Register         `yaml:"register" doc:"Proves that a worker has registered its functions."`
}

// Roles keeps the order of the file.
type Roles []Role

// Kubernetes says how a cluster runs a role.
type Kubernetes struct {
	Namespace string   `yaml:"namespace" doc:"The namespace of the role's objects." required:"true" example:"joelclaw"`
	Manifests []string `yaml:"manifests" doc:"Manifests of the repository: files, folders or kustomizations." default:"(generated from the other settings)" example:"[k8s/system-bus-worker.yaml]"`

	Replicas       *int                         `yaml:"replicas" doc:"How many pods run." default:"1" example:"2"`
	EnvFrom        []string                     `yaml:"envFrom" doc:"Secrets of the namespace whose keys become environment variables." example:"[system-bus-env]"`
	PullSecrets    []string                     `yaml:"pullSecrets" doc:"Secrets of the namespace with which the nodes pull the image." example:"[ghcr]"`
	ServiceAccount string                       `yaml:"serviceAccount" doc:"The service account of the pods." default:"(that of the namespace, without a token)" example:"system-bus"`
	Resources      map[string]map[string]string `yaml:"resources" doc:"What the container requests, and its limits." example:"{requests: {cpu: 100m, memory: 256Mi}, limits: {memory: 1Gi}}"`
	Conflicts      map[string]string            `yaml:"conflicts" doc:"Who wins a field that another field manager holds, by the manager's name: force takes it, cede leaves it. Without an entry what people have written is overruled, and a controller refuses the release." choices:"force cede" example:"{flux: cede}"`

	// IgnoreConfigChanges leaves pods running when a release changes nothing but the
	// data of a ConfigMap or Secret that they read when they start.
	IgnoreConfigChanges bool `yaml:"ignoreConfigChanges" doc:"Leaves pods running when a release changes nothing but the data of a ConfigMap or Secret that they read when they start." default:"false" example:"true"`
}

// Host says how a machine runs a role, as a service.
type Host struct {
	Manager     string            `yaml:"manager" doc:"The service manager of the machine." required:"true" choices:"systemd launchd" example:"launchd"`
	Service     string            `yaml:"service" doc:"The service: the name of the unit without .service, or the launchd label." required:"true" rule:"service" example:"com.joel.gateway"`
	Domain      string            `yaml:"domain" doc:"The domain of the service: for launchd system, gui/UID or user/UID; for systemd system or user." default:"system" example:"gui/501"`
	Address     string            `yaml:"address" doc:"The machine, as [user@]host[:port] for SSH." default:"(this machine)" example:"deploy@panda.local"`
	Key         string            `yaml:"key" doc:"The file of the SSH private key." default:"(the keys of the SSH agent)" example:"~/.ssh/deploy"`
	KnownHosts  string            `yaml:"knownHosts" doc:"The file that vouches for the machine's host key." default:"~/.ssh/known_hosts" example:".github/known_hosts"`
	Root        string            `yaml:"root" doc:"The folder of the machine that holds the releases." default:"(/opt/APP)" example:"/srv/system-bus"`
	User        string            `yaml:"user" doc:"Who runs the service." default:"(whom the service manager chooses: root in its system domain)" example:"joel"`
	Command     []string          `yaml:"command" doc:"The command of the service." default:"(the entrypoint of the image)" example:"[bun, --no-install, run, src/daemon.ts]"`
	Runtime     map[string]string `yaml:"runtime" doc:"Programs that the machine must have, each with the range of versions that its --version must satisfy." example:"{bun: ^1.3}"`
	EnvFile     string            `yaml:"envFile" doc:"A file of the machine with environment variables, such as secrets." example:"/etc/system-bus.env"`
	Keep        int               `yaml:"keep" doc:"How many releases are kept on the machine beside the good ones." default:"3" example:"5"`
	StopTimeout Duration          `yaml:"stopTimeout" doc:"How long the service has to end after SIGTERM before it is killed." default:"10s" example:"30s"`
	Limits      map[string]string `yaml:"limits" doc:"Limits of the service: properties of systemd, or soft resource limits of launchd." example:"{MemoryMax: 1G}"`
	UnitDir     string            `yaml:"unitDir" doc:"The folder that the service's definition is written to." default:"(the one that the service manager reads)" example:"/etc/systemd/system"`
	LogDir      string            `yaml:"logDir" doc:"The folder of the service's log under launchd." default:"(log in the root)" example:"/var/log/system-bus"`
}

// Probe asks a role whether it does its work. One of Path, Command and Event is set.
type Probe struct {
	Name    string   `yaml:"name" doc:"The name of the probe in messages." example:"health"`
	Path    string   `yaml:"path" doc:"The path of an HTTP GET on the role's port." example:"/health"`
	Port    int      `yaml:"port" doc:"The port that is asked." default:"(that of the role)" example:"9090"`
	Expect  []string `yaml:"expect" doc:"What must hold of the answer: CEL over status, headers, text, json and role (what the role itself answers at the path of its first probe)." default:"[status == 200]" example:"['json.worker.role == \"cluster\"', json.count > 0]"`
	Command []string `yaml:"command" doc:"A command that is run where shipit runs." example:"[curl, -fsS, 'https://bus.example.com/health']"`
	Output  string   `yaml:"output" doc:"A regular expression that the output of the command must match." default:"(exit code 0 is enough)" example:"healthy"`
	Event   *Event   `yaml:"event" doc:"A synthetic event that is sent to one address and awaited at another."`
	Within  Duration `yaml:"within" doc:"How long the probe has to hold." default:"30s" example:"90s"`
	Every   Duration `yaml:"every" doc:"The time between two attempts." default:"500ms" example:"2s"`
}

// Event is a synthetic event: sent to one address and awaited at another. It is sent
// after the role has registered.
type Event struct {
	Send  Request `yaml:"send" doc:"The request that sends the event, after the role has registered. ${ID} is the event's own id in every field."`
	ID    string  `yaml:"id" doc:"CEL over the answer of send that gives the id that the server gave to the event; it is ${ID} in await." default:"(the event's own id)" example:"json.ids[0]"`
	Await Request `yaml:"await" doc:"The request that is repeated until what it expects holds. ${ID} is the event's own id in every field."`
}

// Request is one HTTP request, sent by the role's way in (pod proxy, host) when
// URL is a path, otherwise from where shipit runs.
type Request struct {
	URL     string            `yaml:"url" doc:"A path, asked of the role, or a URL, asked from where shipit runs." example:"https://bus.example.com/e/key"`
	Method  string            `yaml:"method" doc:"The method of the request." default:"(GET, or POST with a body)" example:"PUT"`
	Headers map[string]string `yaml:"headers" doc:"Headers of the request." example:"{Content-Type: application/json}"`
	Body    string            `yaml:"body" doc:"The body of the request." example:"'{\"name\": \"shipit/probe\", \"data\": {\"id\": \"${ID}\"}}'"`
	Expect  []string          `yaml:"expect" doc:"What must hold of the answer: CEL over status, headers, text, json and role (what the role itself answers at the path of its first probe)." default:"[status == 200]" example:"[json.data.size() > 0]"`
}

// Register proves that a worker registered its functions.
type Register struct {
	Path   string   `yaml:"path" doc:"The path of the worker that is asked by PUT to register. Without it (connect mode) the server alone is asked." example:"/api/inngest"`
	Expect []string `yaml:"expect" doc:"What must hold of the worker's answer: CEL over status, headers, text, json and role." default:"[status == 200]" example:"[json.modified]"`
	Ask    *Request `yaml:"ask" doc:"A request to the server that the worker registers with. Its answer is the proof: at the end of a release, in plan and in status."`
	URL    string   `yaml:"url" doc:"CEL over the answer of ask, or else of path, that gives the registered URL." default:"(every URL in the answers that has the path)" example:"json.data.apps.filter(a, a.name == 'system-bus-cluster')[0].url"`
	Host   string   `yaml:"host" doc:"The host[:port] at which the server reaches the worker. The PUT carries it as its Host, and the registered URL must have it." default:"(that of INNGEST_SERVE_HOST in what is rolled out, or else of the role's Service, or of host.address)" example:"system-bus-worker:3111"`
	Within Duration `yaml:"within" doc:"How long the registration has to succeed." default:"30s" example:"90s"`
}

// Functions says how function ids are owned.
type Functions struct {
	AllowDuplicates []string `yaml:"allowDuplicates" doc:"Ids that several roles may have." example:"[webhook-dispatch]"`
	IDs             string   `yaml:"ids" doc:"CEL over a role's health answer that gives the ids." default:"json.functions" example:"json.worker.functions"`
	Lists           []string `yaml:"lists" doc:"Source files that list ids, for shipit check." example:"[packages/system-bus/src/functions.ts]"`
}

// Check says what must not be in the tree.
type Check struct {
	Forbid   []Forbid `yaml:"forbid" doc:"What no file of the tree may hold." each:"One forbidden pattern."`
	Workflow string   `yaml:"workflow" doc:"The workflow that calls shipit; its path filters must cover what goes into the images." example:".github/workflows/ship.yml"`
}

// Forbid is a pattern that no file outside Allow may hold.
type Forbid struct {
	Pattern string   `yaml:"pattern" doc:"The regular expression that no line may match." required:"true" example:"rsync .*system-bus"`
	Allow   []string `yaml:"allow" doc:"Path globs of files that may; ** stands for any depth." example:"['docs/**']"`
	Why     string   `yaml:"why" doc:"The reason, for the message." example:"the release carries these files"`
}

// Signing says who signs and what is required before a release runs.
type Signing struct {
	Mode         string  `yaml:"mode" doc:"How images and records are signed: not at all, by a key, or keyless by the identity of the CI job." default:"none" choices:"none key keyless" example:"keyless"`
	Key          string  `yaml:"key" doc:"The private key, a file or env:NAME. Its password is in COSIGN_PASSWORD." example:"env:COSIGN_PRIVATE_KEY"`
	Policy       *Policy `yaml:"policy" doc:"What must hold for an image before it runs anywhere."`
	FulcioURL    string  `yaml:"fulcio" doc:"The certificate authority of keyless signatures." default:"(Sigstore's public one)" example:"https://fulcio.example.com"`
	RekorURL     string  `yaml:"rekor" doc:"The transparency log of keyless signatures." default:"(Sigstore's public one)" example:"https://rekor.example.com"`
	RekorVersion int     `yaml:"rekorVersion" doc:"The version of the API at rekor, 1 or 2." default:"(2 with timestamp, otherwise 1)" min:"0" max:"2" example:"2"`
	TimestampURL string  `yaml:"timestamp" doc:"The timestamp authority." example:"https://timestamp.example.com/api/v1/timestamp"`
	TrustedRoot  string  `yaml:"trustedRoot" doc:"The file of the trusted root that vouches for fulcio and rekor." default:"(Sigstore's public one)" example:"trusted_root.json"`
}

// Policy is what must hold for an image before it runs anywhere.
type Policy struct {
	Keys       []string `yaml:"keys" doc:"Files of the tree with public keys; a signature by any of them counts." example:"[cosign.pub]"`
	Identity   string   `yaml:"identity" doc:"A regular expression that the whole subject of the signer's certificate matches." example:"https://github\\.com/joelhooks/joelclaw/.*"`
	Issuer     string   `yaml:"issuer" doc:"The issuer of that identity." example:"https://token.actions.githubusercontent.com"`
	Predicates []string `yaml:"predicates" doc:"What must be there and signed. A signature always must." choices:"signature provenance sbom" example:"[provenance, sbom]"`
	Repository string   `yaml:"repository" doc:"The repository that the provenance must name." default:"(source)" example:"https://github.com/joelhooks/joelclaw"`
	Branch     string   `yaml:"branch" doc:"The branch of which the commit must be an ancestor." example:"main"`
}

// Duration is a time span such as 90s or 5m.
type Duration time.Duration

// Or is the duration, or def if it is zero.
func (d Duration) Or(def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return time.Duration(d)
}

// Beside is the path of a file of this machine that the configuration names:
// relative ones start from Dir. Empty paths and those in ~/ stay as they are.
func (c Config) Beside(file string) string {
	if file == "" || filepath.IsAbs(file) || strings.HasPrefix(file, "~/") {
		return file
	}
	return filepath.Join(c.Dir, file)
}

// ImageNames are the images that roles use, sorted.
func (c Config) ImageNames() []string {
	used := map[string]bool{}
	for _, r := range c.Roles {
		used[r.Image] = true
	}
	return slices.Sorted(maps.Keys(used))
}

// Role returns the role of that name.
func (c Config) Role(name string) (Role, bool) {
	for _, r := range c.Roles {
		if r.Name == name {
			return r, true
		}
	}
	return Role{}, false
}

// RootOr is the folder that holds the host's releases: Root, or by default one
// named after the app.
func (h Host) RootOr(app string) string {
	if h.Root == "" {
		return "/opt/" + app
	}
	return h.Root
}

// WantedPlatforms are the platforms that are built; none: those of the base.
func (i Image) WantedPlatforms() []string {
	if len(i.Platforms) == 0 && i.Base == "scratch" {
		return []string{"linux/amd64"}
	}
	return i.Platforms
}

// UserOr is the image's user or the default, 1000:1000.
func (i Image) UserOr() string {
	if i.User == "" {
		return "1000:1000"
	}
	return i.User
}
