package pipeline

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/joelhooks/shipit/pipeline/process"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tracing"
)

// CommandError is a build command that failed.
type CommandError struct {
	Args []string
	Err  error    // how it ended
	Tail []string // the last lines of its output, without secrets

	hint string
}

// Hint is a possible cause; "" if none is known.
func (e *CommandError) Hint() string { return e.hint }

func (e *CommandError) Error() string {
	msg := fmt.Sprintf("run %s: %v", strings.Join(e.Args, " "), e.Err)
	if len(e.Tail) > 0 {
		msg += "\n" + strings.Join(e.Tail, "\n")
	}
	return msg
}

func (e *CommandError) Unwrap() error { return e.Err }

// notFound is the exit code by which a shell says that there is no such program.
const notFound = 127

// commandHint is a possible cause of a command that failed.
func commandHint(in Inputs, args []string, code int) string {
	if code != notFound && in.aim.foreign() && installer(args) == "" {
		return fmt.Sprintf("it ran on %s with the packages for %s: a program among them cannot run here; build without such programs, or take %s out of images.%s.platforms",
			in.aim.on, in.aim.name, in.aim.name, in.Name)
	}
	if code != notFound {
		return missingHint(in)
	}
	where := "on the PATH of this machine"
	if in.Image.Toolchain != "" {
		where = "in the toolchain " + in.Image.Toolchain + ", or, with the embedded builder, " + where
	}
	program := "a program that it starts"
	if args[0] != "sh" && args[0] != "bash" {
		program = args[0] + ", or " + program + "," // as node, which pnpm is a script of
	}
	return program + " is not " + where
}

// missingHint names the workspace packages that a command may have missed: those
// declared in devDependencies only are not in the build.
func missingHint(in Inputs) string {
	var names []string
	for _, l := range in.Closure.DevLinks {
		names = append(names, fmt.Sprintf("%s (%s) of %s", l.Name, l.To, path.Join(l.From, "package.json")))
	}
	if len(names) == 0 {
		return ""
	}
	return "not in the build, because devDependencies are not: " + strings.Join(names, ", ") + "; if the command needs one, move it to dependencies"
}

// run runs one command at the root of the exported tree, in a clean environment.
// Its output is reported line by line.
func (s staging) run(ctx context.Context, in Inputs, args []string) (err error) {
	started, name := time.Now(), strings.Join(args, " ")
	if in.aim != nil {
		name += " for " + in.aim.name
	}
	ctx, end := tracing.Span(ctx, name)
	defer func() { end(err) }()
	s.opts.report(release.MarkStart, "run %s", name)
	env, secrets := s.environment(in.Image.Secrets)
	line := s.opts.around.shell(args)
	if !s.opts.shared {
		line = s.isolate(ctx, line)
	}
	cmd := process.Group(ctx, line[0], line[1:]...)
	cmd.Dir, cmd.Env = s.tree(), env
	quiet := silence{opts: s.opts}
	quiet.start("`" + name + "`")
	tail, err := process.Stream(cmd, secrets, func(line string) {
		quiet.heard()
		s.opts.report(release.MarkStep, "%s", line)
	})
	quiet.end()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return &CommandError{Args: args, Err: err, Tail: tail, hint: commandHint(in, args, cmd.ProcessState.ExitCode())}
	}
	s.opts.Progress.Report(release.Event{
		Phase: release.PhaseBuild, Mark: release.MarkDone, Message: "ran " + name, Took: time.Since(started),
	})
	return nil
}

// passed reports whether a variable of the caller is passed to build commands,
// whatever its case: those that configure access to package registries. They change
// where packages come from, not what they are.
func passed(name string) bool {
	upper := strings.ToUpper(name)
	for _, prefix := range []string{"NPM_CONFIG_", "PNPM_CONFIG_", "BUN_CONFIG_", "COREPACK_"} {
		if strings.HasPrefix(upper, prefix) {
			return true
		}
	}
	return slices.Contains([]string{
		"NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
	}, upper)
}

// variables is the environment of every build command, with either builder.
func (a around) variables(home, caches string) map[string]string {
	return map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": home, "CI": "1", "LANG": "C.UTF-8", "TZ": a.timeZone(), "SOURCE_DATE_EPOCH": "0", "NO_COLOR": "1",
		"npm_config_store_dir":  filepath.Join(caches, "pnpm"),
		"npm_config_cache":      filepath.Join(caches, "npm"),
		"BUN_INSTALL_CACHE_DIR": filepath.Join(caches, "bun"),
		"COREPACK_HOME":         filepath.Join(caches, "corepack"),
		// The scripts of packages always run: pnpm lays out their cached results
		// differently.
		"npm_config_side_effects_cache":  "false",
		"pnpm_config_side_effects_cache": "false",
		// Nor are installed files hard links into the store, through which a script
		// would change it: where it is no mount of its own, this is for pnpm.
		"npm_config_package_import_method":  "clone-or-copy",
		"pnpm_config_package_import_method": "clone-or-copy",
		// The user's own .npmrc could change how packages are laid out.
		"npm_config_userconfig": filepath.Join(home, ".npmrc"),
	}
}

// environment is the environment of a command, and the values of secrets in it.
func (s staging) environment(secretNames []string) (env, secrets []string) {
	home := filepath.Join(s.seen, "home")
	set := s.opts.around.variables(home, s.caches)
	set["TMPDIR"] = filepath.Join(home, "tmp")
	maps.Copy(set, s.places)
	_ = mkdir(filepath.Join(s.home(), "tmp"))
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		if passed(name) {
			set[name] = value
		}
		if slices.Contains(secretNames, name) && value != "" {
			set[name] = value
			secrets = append(secrets, value)
		}
	}
	for name, value := range set {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env, secrets
}
