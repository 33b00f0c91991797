package probe

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// addresses are where the server reaches a role: register.host, or else what is known
// of the role. A loopback address is one only if register.host names it.
func addresses(role config.Role, ask Asker) []string {
	if role.Register.Host != "" {
		return []string{role.Register.Host}
	}
	return slices.DeleteFunc(slices.Clone(ask.Addresses), loopback)
}

// Announced is the host of the URL that a worker announces by its environment; nil if it
// announces none. The SDK of Inngest reads INNGEST_SERVE_HOST, from its version 4 on
// INNGEST_SERVE_ORIGIN.
func Announced(value func(name string) string) []string {
	for _, name := range []string{"INNGEST_SERVE_ORIGIN", "INNGEST_SERVE_HOST"} {
		address := strings.TrimSpace(value(name))
		if address == "" || strings.Contains(address, "$(") { // what the pod fills in is not known here
			continue
		}
		if !strings.Contains(address, "://") {
			address = "http://" + address
		}
		if u, err := url.Parse(address); err == nil && u.Host != "" {
			return []string{u.Host}
		}
	}
	return nil
}

// AddressFault is what is wrong with the addresses at which a role can be reached, if it
// is to register: none is known, or the server would call itself. false: nothing.
func AddressFault(role config.Role, known []string) (release.Finding, bool) {
	r := role.Register
	if r == nil || r.Path == "" || r.Host != "" {
		return release.Finding{}, false
	}
	f := release.Finding{
		Code: release.CodeRegistrationAddress, Severity: release.Refuses, Role: role.Name, Object: "roles." + role.Name + ".register", Fixed: true,
		Message: "no address is known at which the server reaches the worker: it would register that of whoever asks it to",
		Hint:    "set register.host to the host[:port] at which the server calls the worker",
	}
	switch {
	case len(known) == 0:
	case loopback(known[0]):
		f.Message = fmt.Sprintf("the worker would register %s, where the server finds itself", known[0])
		f.Hint = "set INNGEST_SERVE_HOST in the role's env to the URL at which the server calls the worker; if both run on one machine, name the address in register.host"
	default:
		return release.Finding{}, false
	}
	return f, true
}

// addressFault is the AddressFault that the configuration alone tells: manifests may
// announce an address, and bring a Service.
func addressFault(role config.Role) (release.Finding, bool) {
	known := Announced(func(name string) string { return role.Env[name] })
	if len(known) == 0 && (role.Host == nil || role.Host.Address != "") {
		return release.Finding{}, false
	}
	return AddressFault(role, known)
}

// loopback reports whether a host[:port] is one of the machine that uses it.
func loopback(address string) bool {
	host := address
	if h, _, err := net.SplitHostPort(address); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
}

// withPort is host[:port], with the port of the role if it has none.
func withPort(address string, port int) string {
	if _, _, err := net.SplitHostPort(address); err == nil || port == 0 {
		return address
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), strconv.Itoa(port))
}
