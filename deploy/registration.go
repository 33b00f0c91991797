package deploy

import (
	"context"
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/probe"
	"github.com/joelhooks/shipit/release"
)

// register makes a role register and returns the proof; "" if it need not.
func (e Engine) register(ctx context.Context, role release.Role, cfg config.Role) (string, error) {
	if cfg.Register == nil {
		return "", nil
	}
	proof, err := probe.Register(ctx, cfg, e.asker(role))
	if err != nil {
		return "", causeOf(ctx, err)
	}
	e.report(release.PhaseVerify, release.MarkDone, role.Name, "registered: %s", proof)
	return proof, nil
}

// registered asks the server what it has of a role; nil if it is not to be asked. That
// it could not be asked is no difference, and is told as unasked.
func (e Engine) registered(ctx context.Context, role release.Role) *registration {
	cfg, ok := e.Config.Role(role.Name)
	if !ok || cfg.Register == nil || cfg.Register.Ask == nil {
		return nil
	}
	seen, err := probe.Registered(ctx, cfg, e.asker(role))
	if err != nil {
		return &registration{unasked: release.OneLine(err.Error())}
	}
	return &registration{Registration: seen}
}

// registerAgain makes a role that was put back register, because the server may have
// what the failed release registered. The role runs whether it succeeds or not.
func (e Engine) registerAgain(ctx context.Context, role release.Role) {
	cfg, ok := e.Config.Role(role.Name)
	if !ok {
		return
	}
	if _, err := e.register(ctx, role, cfg); err != nil {
		e.report(release.PhaseRestore, release.MarkNote, role.Name, "runs again, and is not registered: %s", release.OneLine(err.Error()))
	}
}

// registration is what the server has of a role.
type registration struct {
	probe.Registration
	unasked string // why the server could not be asked
}

// proven is a registration that was proved just now; nil if there is no proof.
func proven(proof string) *registration {
	if proof == "" {
		return nil
	}
	return &registration{Registration: probe.Registration{At: proof}}
}

// change is what a release would change of a registration, as of any object; false if
// nothing.
func (r *registration) change(role string) (Change, bool) {
	if r == nil || r.Fault == nil {
		return Change{}, false
	}
	field := release.FieldChange{Path: "answer", Live: r.Fault.Message, Wanted: "what register.ask expects"}
	if r.Wanted != "" {
		field = release.FieldChange{Path: "url", Live: r.At, Wanted: "a URL on " + r.Wanted}
	}
	return Change{Role: role, Object: "registration at the server", Action: release.ActionConfigured, Fields: []release.FieldChange{field}}, true
}

// unknownAddresses are findings of roles that are to register though no address is known
// at which the server reaches them, in what is rolled out either. Those that the
// configuration alone tells are findings of probe.Validate. What ran before the first
// release is not asked to register, and goes back as it was.
func (e Engine) unknownAddresses(rel release.Release) []release.Finding {
	if rel.Adopted {
		return nil
	}
	told := probe.Validate(e.Config)
	var out []release.Finding
	for _, role := range rel.Roles {
		cfg, ok := e.Config.Role(role.Name)
		if !ok || slices.ContainsFunc(told, func(f release.Finding) bool { return f.Code == release.CodeRegistrationAddress && f.Role == role.Name }) {
			continue
		}
		if f, faulty := probe.AddressFault(cfg, addresses(role, cfg)); faulty {
			out = append(out, f)
		}
	}
	return out
}

// addresses are the host[:port] at which a role can be reached, the likeliest first: the
// one that the role announces, or else those of its Service or machine.
func addresses(role release.Role, cfg config.Role) []string {
	var out, services []string
	for _, raw := range role.Objects {
		var service release.ServiceDefinition
		if role.Target == release.TargetHost {
			if json.Unmarshal(raw, &service) == nil {
				out = append(out, probe.Announced(func(name string) string { return service.Env[name] })...)
				if service.Address == "" && cfg.Host != nil {
					service.Address = cfg.Host.Address // the record is older than what tells it
				}
				services = append(services, machineAddress(service)...)
			}
			continue
		}
		var object any
		if json.Unmarshal(raw, &object) != nil {
			continue
		}
		out = append(out, probe.Announced(func(name string) string { return envValue(object, name) })...)
		services = append(services, serviceNames(raw, cfg.Port)...)
	}
	if len(out) > 0 {
		return out
	}
	return services
}

// envValue is the value of an environment variable of a container, wherever containers
// are in an object; "" if it has none or takes it from elsewhere.
func envValue(v any, name string) string {
	switch v := v.(type) {
	case map[string]any:
		if v["name"] == name {
			if value, ok := v["value"].(string); ok {
				return value
			}
		}
		for _, key := range []string{"spec", "template", "jobTemplate", "containers", "env"} {
			if found := envValue(v[key], name); found != "" {
				return found
			}
		}
	case []any:
		for _, item := range v {
			if found := envValue(item, name); found != "" {
				return found
			}
		}
	}
	return ""
}

// serviceNames are the names by which the cluster's DNS knows a Service that leads to a
// port, with the Service's own port: first the one that resolves in every namespace.
func serviceNames(raw json.RawMessage, port int) []string {
	var s struct {
		Kind     string
		Metadata struct{ Name, Namespace string }
		Spec     struct {
			Ports []struct {
				Port       int
				TargetPort json.RawMessage
			}
		}
	}
	if json.Unmarshal(raw, &s) != nil || s.Kind != "Service" {
		return nil
	}
	at := 0
	for _, p := range s.Spec.Ports {
		number, err := strconv.Atoi(string(p.TargetPort))
		named := err != nil && len(p.TargetPort) > 0 // by a container, and any port may have the name
		if number == port || named || len(p.TargetPort) == 0 && p.Port == port {
			at = p.Port
			break
		}
	}
	if at == 0 {
		return nil
	}
	var out []string
	name, namespace := s.Metadata.Name, s.Metadata.Namespace
	for _, host := range []string{name + "." + namespace + ".svc", name, name + "." + namespace, name + "." + namespace + ".svc.cluster.local"} {
		out = append(out, net.JoinHostPort(host, strconv.Itoa(at)))
	}
	return out
}

// machineAddress is the machine of a service as others name it, with the service's port;
// nil for the machine that shipit runs on.
func machineAddress(s release.ServiceDefinition) []string {
	if s.Address == "" || s.Address == release.LocalMachine || s.Port == 0 {
		return nil
	}
	host := s.Address[strings.LastIndex(s.Address, "@")+1:]
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return []string{net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(s.Port))}
}
