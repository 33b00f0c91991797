package manifests

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// systemd writes the unit. The syntax is that of systemd.syntax(7) and
// systemd.service(5).
func systemd(in roleInput, d definition) (definition, error) {
	d.Kind, d.File = "systemd", d.Service+".service"
	target := "multi-user.target"
	if d.Domain != "system" {
		target = "default.target"
	}
	if strings.ContainsAny(d.Command[0][:1], "@-:+!|") {
		return d, hostFault(in, "the command %q begins with a character that systemd gives a meaning", d.Command[0])
	}
	if _, set := d.Env["PATH"]; set && !path.IsAbs(d.Command[0]) {
		// systemd looks a bare name up in a PATH of its own; env uses the service's.
		d.Command = append([]string{"/usr/bin/env"}, d.Command...)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Env)) {
		if strings.ContainsFunc(d.Env[name], func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' || r == 0x7f }) {
			return d, hostFault(in, "the value of %s holds a control character, which systemd drops", name)
		}
	}

	var u unit
	u.section("Unit")
	u.set("Description", escapeSpecifiers(in.App+" "+in.Role.Name+", released by shipit"))
	u.set("Wants", "network-online.target")
	u.set("After", "network-online.target")
	u.set("StartLimitIntervalSec", "0") // it is tried again for as long as it is wanted
	u.section("Service")
	u.set("Type", "exec") // a program that cannot be started fails the start itself
	if d.User != "" {
		u.set("User", escapeSpecifiers(d.User))
	}
	u.set("WorkingDirectory", escapeSpecifiers(d.Workdir))
	for _, name := range slices.Sorted(maps.Keys(d.Env)) {
		u.set("Environment", quote(escapeSpecifiers(name+"="+d.Env[name])))
	}
	if d.EnvFile != "" {
		u.set("EnvironmentFile", escapeSpecifiers(d.EnvFile))
	}
	u.set("ExecStart", execLine(d.Command))
	u.set("Restart", "always")
	u.set("RestartSec", "1")
	u.set("KillSignal", "SIGTERM")
	u.set("TimeoutStopSec", fmt.Sprint(d.stopSeconds()))
	u.set("SyslogIdentifier", escapeSpecifiers(d.Service))
	if err := u.limits(in); err != nil {
		return d, err
	}
	u.section("Install")
	u.set("WantedBy", target)
	d.Content = u.String()
	return d, nil
}

// unit is a systemd unit file as it grows.
type unit struct{ strings.Builder }

func (u *unit) section(name string) {
	if u.Len() > 0 {
		u.WriteString("\n")
	}
	u.WriteString("[" + name + "]\n")
}

func (u *unit) set(key, value string) { u.WriteString(key + "=" + value + "\n") }

// limits are properties such as MemoryMax. None of them may start a program.
func (u *unit) limits(in roleInput) error {
	name := regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)
	limits := in.Role.Host.Limits
	for _, key := range slices.Sorted(maps.Keys(limits)) {
		if !name.MatchString(key) || strings.HasPrefix(key, "Exec") || strings.ContainsAny(limits[key], "\r\n\x00") {
			return hostFault(in, "host.limits: %s=%q is no resource limit of systemd", key, limits[key])
		}
		u.set(key, limits[key])
	}
	return nil
}

// execLine is a command for ExecStart: no argument is expanded or split.
func execLine(command []string) string {
	words := make([]string, 0, len(command))
	for _, arg := range command {
		words = append(words, quote(strings.ReplaceAll(escapeSpecifiers(arg), "$", "$$")))
	}
	return strings.Join(words, " ")
}

// escapeSpecifiers keeps systemd from filling in %n and the like.
func escapeSpecifiers(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// quote makes one word of s, in double quotes unless it is plain.
func quote(s string) string {
	if regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./$-]+$`).MatchString(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
