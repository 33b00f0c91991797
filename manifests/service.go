package manifests

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// definition is what is made of a role, as its service file is written.
type definition struct{ release.ServiceDefinition }

// serviceDefinition renders the service definition of a host role as a release.ServiceDefinition in
// canonical JSON. What a service file cannot say is an *Error.
func serviceDefinition(in roleInput) (json.RawMessage, error) {
	h := in.Role.Host
	if h == nil {
		return nil, &Error{Code: release.CodeBadManifest, Object: "role " + in.Role.Name, Msg: "is no host role"}
	}
	d, err := define(in)
	if err != nil {
		return nil, err
	}
	if h.Manager == "launchd" {
		d, err = launchd(in, d)
	} else {
		d, err = systemd(in, d)
	}
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", d.Service, err)
	}
	return canonical(raw)
}

// define is what both managers need.
func define(in roleInput) (definition, error) {
	h := in.Role.Host
	root := h.Root
	if root == "" {
		root = "/opt/" + in.App
	}
	if !path.IsAbs(root) || path.Clean(root) == "/" {
		return definition{}, hostFault(in, "host.root %q is no absolute path of a folder", root)
	}
	domain := h.Domain
	if domain == "" {
		domain = "system"
	}
	d := definition{release.ServiceDefinition{
		App: in.App, Role: in.Role.Name, Service: strings.TrimSuffix(h.Service, ".service"), Domain: domain, Dir: h.UnitDir,
		Address: cmp.Or(h.Address, release.LocalMachine), Digest: in.Digest, Root: path.Clean(root),
		Workdir: path.Join(root, "releases", strings.TrimPrefix(in.Digest, "sha256:"), "app", in.Image.Package),
		Env:     map[string]string{}, EnvFile: h.EnvFile, User: h.User, Port: in.Role.Port,
		Stop: h.StopTimeout.Or(10 * time.Second).Milliseconds(), Stable: time.Duration(in.Role.Stable).Milliseconds(),
	}}
	maps.Copy(d.Env, in.Image.Env)
	maps.Copy(d.Env, in.Role.Env)
	d.Env["SHIPIT_RELEASE"] = in.Digest
	if d.EnvFile != "" && !path.IsAbs(d.EnvFile) {
		return d, hostFault(in, "host.envFile %q is no absolute path", d.EnvFile)
	}
	if domain != "system" && d.User != "" {
		return d, hostFault(in, "host.user %q cannot be set in domain %s: the service runs as the domain's user", d.User, domain)
	}
	return d, d.check(in, h)
}

// stopSeconds is Stop in whole seconds, as both managers' files have it.
func (d definition) stopSeconds() int { return int((d.Stop + 999) / 1000) }

// check refuses what would say something else in a service file than was meant.
func (d *definition) check(in roleInput, h *config.Host) error {
	command := h.Command
	if len(command) == 0 {
		command = in.Image.Entrypoint
	}
	if len(command) == 0 || command[0] == "" {
		return hostFault(in, "has no command: set host.command or the image's entrypoint")
	}
	d.Command = slices.Clone(command)
	if strings.Contains(d.Command[0], "/") && !path.IsAbs(d.Command[0]) {
		d.Command[0] = path.Join(d.Workdir, d.Command[0])
	}
	names := regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	for _, name := range slices.Sorted(maps.Keys(d.Env)) {
		if !names.MatchString(name) {
			return hostFault(in, "%q is no name of an environment variable", name)
		}
		if strings.ContainsRune(d.Env[name], 0) {
			return hostFault(in, "the value of %s holds a zero byte", name)
		}
	}
	lines := []string{d.Root, d.Workdir, d.EnvFile, d.User, h.UnitDir, h.LogDir}
	for _, s := range lines {
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return hostFault(in, "%q holds a control character", s)
		}
	}
	for _, arg := range d.Command {
		if strings.ContainsRune(arg, 0) {
			return hostFault(in, "the command holds a zero byte")
		}
	}
	return nil
}

func hostFault(in roleInput, format string, args ...any) *Error {
	return &Error{Code: release.CodeBadManifest, Object: "role " + in.Role.Name, Msg: fmt.Sprintf(format, args...)}
}

// canonical gives JSON with its keys sorted.
func canonical(raw []byte) (json.RawMessage, error) {
	o, err := decode(raw)
	if err != nil {
		return nil, err
	}
	return json.Marshal(o.fields)
}
