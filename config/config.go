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

// Config is what one monorepo ships.
type Config struct {
	Path string `yaml:"-"` // the file it was read from, for messages
	Dir  string `yaml:"-"` // where relative paths of this machine's files start; Load and Parse give that of Path

	App          string               `yaml:"app"`     // names the ledger, the lock and the labels
	Source       string               `yaml:"source"`  // https URL of the repository, for org.opencontainers.image.source
	Builder      string               `yaml:"builder"` // auto (default), dagger or embedded
	Images       map[string]Image     `yaml:"images"`
	Roles        Roles                `yaml:"roles"`  // in the order in which they are switched
	Keep         []string             `yaml:"keep"`   // roles of earlier releases that are left as they are, though roles names them no more
	Ledger       string               `yaml:"ledger"` // namespace of the cluster that keeps the records; default: that of the first role in Kubernetes
	Functions    Functions            `yaml:"functions"`
	Check        Check                `yaml:"check"`
	Signing      Signing              `yaml:"signing"`
	Timeout      Duration             `yaml:"timeout"`      // of one rollout; default 5m
	Environments map[string]yaml.Node `yaml:"environments"` // --env NAME: settings laid over the rest
}

// Image is one OCI image made from a workspace package and what it links to.
type Image struct {
	Repository string            `yaml:"repository"` // registry/owner/name, without a tag
	Package    string            `yaml:"package"`    // folder of the package, from the root
	Base       string            `yaml:"base"`       // image by digest, or "scratch"
	Platforms  []string          `yaml:"platforms"`  // os/arch; default: those of the base, linux/amd64 for scratch
	Run        [][]string        `yaml:"run"`        // commands that install and build; none: workspace links only
	Toolchain  string            `yaml:"toolchain"`  // image by digest in which Dagger runs them
	Secrets    []string          `yaml:"secrets"`    // environment variables that the commands may read; never part of the key or the image
	Caches     []string          `yaml:"caches"`     // paths that Dagger keeps between builds; nothing in them is in the image
	Test       [][]string        `yaml:"test"`       // commands that must pass before the image is pushed
	Include    []string          `yaml:"include"`    // further files or folders of the tree that go in
	Entrypoint []string          `yaml:"entrypoint"`
	User       string            `yaml:"user"` // uid:gid; default 1000:1000
	Env        map[string]string `yaml:"env"`
	Prove      Prove             `yaml:"prove"`     // what is tried on the built files before the push
	Functions  []string          `yaml:"functions"` // command run in the package's folder that prints {"role": ["id", …]}
}

// Prove says how a built image is tested before it is pushed.
type Prove struct {
	Entrypoints []string `yaml:"entrypoints"` // files whose imports must resolve; default: the entrypoint's script
	Start       Duration `yaml:"start"`       // run the entrypoint so long; 0: do not
	Skip        bool     `yaml:"skip"`
}

// Role is one running part. Exactly one of Kubernetes and Host is set: its Target.
type Role struct {
	Name       string            `yaml:"-"`
	Image      string            `yaml:"image"`
	Kubernetes *Kubernetes       `yaml:"kubernetes"`
	Host       *Host             `yaml:"host"`
	Env        map[string]string `yaml:"env"`
	Port       int               `yaml:"port"`
	Probe      *Probe            `yaml:"probe"`
	Probes     []Probe           `yaml:"probes"` // more of them, in order
	Stable     Duration          `yaml:"stable"` // how long it must stay up after it was ready, without a restart, for the release to settle; default 3s
	Register   *Register         `yaml:"register"`
}

// Roles keeps the order of the file.
type Roles []Role

// Kubernetes says how a cluster runs a role.
type Kubernetes struct {
	Namespace string   `yaml:"namespace"`
	Manifests []string `yaml:"manifests"` // files, folders or kustomizations of the tree; none: generated from the rest

	Replicas       *int                         `yaml:"replicas"` // default 1
	EnvFrom        []string                     `yaml:"envFrom"`  // Secrets
	PullSecrets    []string                     `yaml:"pullSecrets"`
	ServiceAccount string                       `yaml:"serviceAccount"`
	Resources      map[string]map[string]string `yaml:"resources"` // requests, limits
	Conflicts      map[string]string            `yaml:"conflicts"` // field manager → force or cede; of others, what people run is overruled and controllers refuse

	// IgnoreConfigChanges leaves pods running when a release changes nothing but the
	// data of a ConfigMap or Secret that they read when they start.
	IgnoreConfigChanges bool `yaml:"ignoreConfigChanges"`
}

// Host says how a machine runs a role, as a service.
type Host struct {
	Manager     string            `yaml:"manager"`     // systemd or launchd
	Service     string            `yaml:"service"`     // unit name without .service, or launchd label
	Domain      string            `yaml:"domain"`      // launchd: system (default), gui/UID or user/UID; systemd: system (default) or user
	Address     string            `yaml:"address"`     // [user@]host[:port] for SSH; empty: this machine
	Key         string            `yaml:"key"`         // SSH private key file; empty: the agent
	KnownHosts  string            `yaml:"knownHosts"`  // default ~/.ssh/known_hosts
	Root        string            `yaml:"root"`        // holds releases/; default /opt/<app>
	User        string            `yaml:"user"`        // that runs the service; default root of systemd's choosing
	Command     []string          `yaml:"command"`     // default: the image's entrypoint
	Runtime     map[string]string `yaml:"runtime"`     // program → semver range that its --version must satisfy
	EnvFile     string            `yaml:"envFile"`     // secrets, a file on the host
	Keep        int               `yaml:"keep"`        // releases kept beside the good ones; default 3
	StopTimeout Duration          `yaml:"stopTimeout"` // SIGTERM to SIGKILL; default 10s
	Limits      map[string]string `yaml:"limits"`      // systemd properties such as MemoryMax; launchd soft resource limits
	UnitDir     string            `yaml:"unitDir"`     // default: the folder that the manager reads
	LogDir      string            `yaml:"logDir"`      // launchd: default <root>/log
}

// Probe asks a role whether it does its work. One of Path, Command and Event is set.
type Probe struct {
	Name    string   `yaml:"name"`
	Path    string   `yaml:"path"`    // HTTP GET on the role's port
	Port    int      `yaml:"port"`    // default: the role's
	Expect  []string `yaml:"expect"`  // CEL over status, headers, text, json; default: status == 200
	Command []string `yaml:"command"` // run where shipit runs; Output must match
	Output  string   `yaml:"output"`  // regular expression; default: exit code 0 is enough
	Event   *Event   `yaml:"event"`
	Within  Duration `yaml:"within"` // how long it has to hold; default 30s
	Every   Duration `yaml:"every"`  // between attempts; default 500ms
}

// Event is a synthetic event: sent to one address and awaited at another. It is sent
// after the role has registered.
type Event struct {
	Send  Request `yaml:"send"`
	Await Request `yaml:"await"` // repeated until its Expect holds; ${ID} is the event's own id in every field
}

// Request is one HTTP request, sent by the role's way in (pod proxy, host) when
// URL is a path, otherwise from where shipit runs.
type Request struct {
	URL     string            `yaml:"url"`
	Method  string            `yaml:"method"` // default GET, or POST with a body
	Headers map[string]string `yaml:"headers"`
	Body    string            `yaml:"body"`
	Expect  []string          `yaml:"expect"`
}

// Register proves that a worker registered its functions.
type Register struct {
	Path   string   `yaml:"path"`   // PUT; its answer is the proof
	Expect []string `yaml:"expect"` // CEL; default: status == 200
	Ask    *Request `yaml:"ask"`    // asks the server that it registered with
	URL    string   `yaml:"url"`    // CEL over Ask's answer that gives the registered URL; default: the URLs in it with this Path
	Host   string   `yaml:"host"`   // expected host[:port] of the registered URL
	Within Duration `yaml:"within"` // how long it has to succeed; default 30s
}

// Functions says how function ids are owned.
type Functions struct {
	AllowDuplicates []string `yaml:"allowDuplicates"`
	IDs             string   `yaml:"ids"`   // CEL over the health answer; default json.functions
	Lists           []string `yaml:"lists"` // source files that list ids, for check
}

// Check says what must not be in the tree.
type Check struct {
	Forbid   []Forbid `yaml:"forbid"`
	Workflow string   `yaml:"workflow"` // the caller workflow whose path filters must cover the closure
}

// Forbid is a pattern that no file outside Allow may hold.
type Forbid struct {
	Pattern string   `yaml:"pattern"` // regular expression
	Allow   []string `yaml:"allow"`   // path globs, ** for any depth
	Why     string   `yaml:"why"`
}

// Signing says who signs and what is required before a release runs.
type Signing struct {
	Mode         string  `yaml:"mode"` // none (default), key or keyless
	Key          string  `yaml:"key"`  // private key: a file, or env:NAME; its password is in COSIGN_PASSWORD
	Policy       *Policy `yaml:"policy"`
	FulcioURL    string  `yaml:"fulcio"`
	RekorURL     string  `yaml:"rekor"`
	RekorVersion int     `yaml:"rekorVersion"` // of the API at rekor, 1 or 2; default 2 with timestamp, otherwise 1
	TimestampURL string  `yaml:"timestamp"`
	TrustedRoot  string  `yaml:"trustedRoot"` // file; default: Sigstore's public one
}

// Policy is what must hold for an image before it runs anywhere.
type Policy struct {
	Keys       []string `yaml:"keys"`     // public key files of the tree; any of them
	Identity   string   `yaml:"identity"` // regular expression that the certificate's whole subject matches
	Issuer     string   `yaml:"issuer"`
	Predicates []string `yaml:"predicates"` // signature (always), provenance, sbom
	Repository string   `yaml:"repository"` // that provenance must name; default: source
	Branch     string   `yaml:"branch"`     // of which the commit must be an ancestor
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

// UserOr is the image's user or the default, 1000:1000.
func (i Image) UserOr() string {
	if i.User == "" {
		return "1000:1000"
	}
	return i.User
}
