package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy/host"
	"github.com/joelhooks/shipit/deploy/kube"
	"github.com/joelhooks/shipit/pipeline/engine"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/registry"
	"github.com/joelhooks/shipit/release"
)

// Input is what the checks are about.
type Input struct {
	Dir      string        // of the repository
	Config   config.Config // the zero value where there is none
	Fault    error         // why there is none; nil if there is one
	Registry *registry.Client
	Attestor *attest.Attestor
	Kube     kube.Options
	// Release is what would be released, with placeholders for the digests of images
	// that are not built. It is asked for once.
	Release func(context.Context) (release.Release, error)
}

// Checks are all checks, in the order in which a release needs them.
func Checks(in Input) []Check {
	checks := []Check{{"git", in.git}, {"shipit.yaml", in.configuration}, {"dagger", in.dagger}}
	checks = append(checks, in.images()...)
	checks = append(checks, Check{"signing", in.signing}, Check{"cluster", in.cluster})
	checks = append(checks, in.hosts()...)
	return append(checks, Check{"clock", in.clock})
}

func (in Input) git(ctx context.Context) []Result {
	version, err := exec.CommandContext(ctx, "git", "version").Output()
	if err != nil {
		return []Result{failed(ctx, fmt.Errorf("git cannot be run: %w", err), "install git 2.30 or newer: https://git-scm.com/downloads")}
	}
	said := strings.TrimSpace(strings.TrimPrefix(string(version), "git version "))
	source, err := git.Open(ctx, in.Dir, "HEAD")
	if err != nil {
		return []Result{failed(ctx, err, "git init && git add -A && git commit, or name a repository with -C DIR")}
	}
	defer source.Close()
	message := fmt.Sprintf("%s; HEAD of %s is %s", said, source.Top, release.Short(source.SHA))
	if source.Shallow() {
		return []Result{{Status: Note, Message: message + "; the clone is shallow: without a version tag in it, versions cannot be ordered", Remedy: "git fetch --unshallow --tags"}}
	}
	return []Result{ok("%s", message)}
}

// configuration says whether there is a configuration that can be read, and whether
// the commit has what is needed to render it.
func (in Input) configuration(ctx context.Context) []Result {
	if errors.Is(in.Fault, fs.ErrNotExist) {
		return []Result{{Status: Note, Message: in.Fault.Error() + "; what it would name is not checked", Remedy: "shipit init"}}
	}
	var fault *config.Error
	if errors.As(in.Fault, &fault) && fault.Key != "" {
		return []Result{failed(ctx, in.Fault, cmp.Or(fault.Hint, "shipit explain "+fault.Key))}
	}
	if in.Fault != nil {
		return []Result{failed(ctx, in.Fault, "correct it")}
	}
	if _, err := in.Release(ctx); err != nil {
		return []Result{failed(ctx, err, "shipit check")}
	}
	return []Result{ok("%s, %d role(s), %d image(s)", in.Config.App, len(in.Config.Roles), len(in.Config.Images))}
}

func (in Input) dagger(ctx context.Context) []Result {
	if in.Config.Builder == "embedded" {
		return []Result{skipped("builder: embedded needs no engine")}
	}
	by, err := engine.Find(ctx)
	switch {
	case err == nil:
		return []Result{ok("an engine can be reached by %s", by)}
	case in.Config.Builder == "dagger":
		return []Result{failed(ctx, err, "")}
	}
	r := failed(ctx, err, "")
	r.Status, r.Message = Note, r.Message+"; the embedded builder is used"
	return []Result{r}
}

// images are checks of every repository that is pushed to, and of every image that
// others are built from.
func (in Input) images() []Check {
	var checks []Check
	seen := map[string]bool{"": true, "scratch": true}
	for _, name := range slices.Sorted(maps.Keys(in.Config.Images)) {
		img := in.Config.Images[name]
		checks = append(checks, Check{"registry " + name, func(ctx context.Context) []Result { return in.push(ctx, img.Repository) }})
		for _, ref := range []string{img.Base, img.Toolchain} {
			if !seen[ref] {
				seen[ref] = true
				checks = append(checks, Check{"base " + name, func(ctx context.Context) []Result { return in.read(ctx, ref) }})
			}
		}
	}
	if checks == nil {
		checks = []Check{{"registry", func(context.Context) []Result { return []Result{skipped("no image is configured")} }}}
	}
	return checks
}

func (in Input) push(ctx context.Context, repository string) []Result {
	if err := in.Registry.CanPush(ctx, repository); err != nil {
		return []Result{failed(ctx, err, "docker login "+strings.SplitN(repository, "/", 2)[0])}
	}
	return []Result{ok("%s may be pushed to", repository)}
}

func (in Input) read(ctx context.Context, ref string) []Result {
	if name, placeholder := strings.CutSuffix(ref, "@"+config.PlaceholderDigest); placeholder {
		return []Result{{Status: Failed, Message: ref + " is still a placeholder", Remedy: "`crane digest " + name + ":TAG` prints the digest to put there"}}
	}
	if err := in.Registry.CanRead(ctx, ref); err != nil {
		return []Result{failed(ctx, err, "")}
	}
	return []Result{ok("%s can be read", ref)}
}

func (in Input) signing(ctx context.Context) []Result {
	if in.Attestor == nil || !in.Attestor.Signs() {
		return []Result{skipped("nothing is signed; signing.mode says how it would be")}
	}
	who, err := in.Attestor.Identity(ctx)
	if err != nil {
		remedy := "run it in a GitHub Actions job with the permission id-token: write"
		if in.Config.Signing.Mode == "key" {
			remedy = "cosign generate-key-pair makes a key; its password is in COSIGN_PASSWORD"
		}
		return []Result{failed(ctx, err, remedy)}
	}
	return []Result{ok("signed by %s", who)}
}

// cluster asks whether the API server knows the caller, and whether the caller may do
// all that a release takes.
func (in Input) cluster(ctx context.Context) []Result {
	used := slices.ContainsFunc(in.Config.Roles, func(r config.Role) bool { return r.Kubernetes != nil })
	if !used && len(in.Config.Roles) > 0 {
		return []Result{skipped("no role runs in a cluster")}
	}
	target, err := kube.Open(ctx, in.Config, in.Kube)
	if err != nil {
		r := failed(ctx, err, "")
		if !used {
			r.Status = Note
		}
		return []Result{r}
	}
	defer target.Close()
	results := []Result{ok("the API server answers")}
	if !used {
		return results
	}
	rel, err := in.Release(ctx)
	if err != nil {
		return append(results, of("rights", skipped("what is released cannot be rendered")))
	}
	findings, err := target.Permissions(ctx, rel)
	if err != nil {
		return append(results, of("rights", failed(ctx, err, "")))
	}
	return append(results, fromFindings("rights", findings, "all that a release takes is allowed")...)
}

// hosts are checks of the machine of every role on a host.
func (in Input) hosts() []Check {
	var checks []Check
	for _, role := range in.Config.Roles {
		if role.Host != nil {
			checks = append(checks, Check{"host " + role.Name, func(ctx context.Context) []Result { return in.host(ctx, role) }})
		}
	}
	if checks == nil {
		checks = []Check{{"host", func(context.Context) []Result { return []Result{skipped("no role runs on a host")} }}}
	}
	return checks
}

// host asks the machine of one role whether it can run it: access, service manager,
// rights, runtimes, port and room.
func (in Input) host(ctx context.Context, role config.Role) []Result {
	machine := role.Host.Address
	if machine == "" {
		machine = "this machine"
	}
	only := in.Config
	only.Roles = config.Roles{role}
	target, err := host.Open(ctx, only, host.Options{})
	if err != nil {
		return []Result{failed(ctx, err, "ssh "+role.Host.Address)}
	}
	defer target.Close()
	rel, unknown := in.Release(ctx)
	i := slices.IndexFunc(rel.Roles, func(r release.Role) bool { return r.Name == role.Name })
	if unknown != nil || i < 0 {
		return []Result{ok("%s answers; what would run there is not known", machine)}
	}
	found, err := target.Preflight(ctx, rel, rel.Roles[i:i+1], false)
	if err != nil {
		return []Result{failed(ctx, err, "")}
	}
	runtimes := slices.Sorted(maps.Keys(role.Host.Runtime))
	message := fmt.Sprintf("%s answers, and %s runs there for it", machine, role.Host.Manager)
	if len(runtimes) > 0 {
		message += "; " + strings.Join(runtimes, ", ") + " as required"
	}
	return fromFindings("host "+role.Name, found.Findings, message)
}

// skew is how far two clocks may be apart before certificates, tokens and the lock
// suffer.
const skew = 30 * time.Second

// clock compares this machine's with that of a server that a release asks.
func (in Input) clock(ctx context.Context) []Result {
	asked, there, err := in.otherClock(ctx)
	if asked == "" {
		return []Result{skipped("there is no server to compare it with")}
	}
	if err != nil {
		return []Result{skipped(asked + " does not tell the time: " + err.Error())}
	}
	apart := time.Since(there).Round(time.Second)
	if apart.Abs() > skew {
		return []Result{{Status: Failed, Message: fmt.Sprintf("this machine and %s are %s apart", asked, apart.Abs()), Remedy: setClock(runtime.GOOS)}}
	}
	return []Result{ok("agrees with %s", asked)}
}

// otherClock is the time by the first registry, or else by the cluster.
func (in Input) otherClock(ctx context.Context) (asked string, there time.Time, err error) {
	for _, name := range slices.Sorted(maps.Keys(in.Config.Images)) {
		repository := in.Config.Images[name].Repository
		there, err = in.Registry.Clock(ctx, repository)
		return "the registry " + strings.SplitN(repository, "/", 2)[0], there, err
	}
	target, err := kube.Open(ctx, in.Config, in.Kube)
	if err != nil {
		return "", time.Time{}, nil // the check of the cluster says so
	}
	defer target.Close()
	there, err = target.Clock(ctx)
	return "the API server", there, err
}

func setClock(os string) string {
	if os == "darwin" {
		return "sudo sntp -sS time.apple.com"
	}
	return "sudo timedatectl set-ntp true"
}
