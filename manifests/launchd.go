package manifests

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// launchd writes the property list. The keys are those of launchd.plist(5).
func launchd(in roleInput, d definition) (definition, error) {
	d.Kind, d.File = "launchd", d.Service+".plist"
	logDir := in.Role.Host.LogDir
	if logDir == "" {
		logDir = path.Join(d.Root, "log")
	}
	d.Logs = []string{path.Join(logDir, d.Service+".log"), path.Join(logDir, d.Service+".err.log")}
	if !path.IsAbs(d.Command[0]) {
		// launchd looks a bare name up in a PATH of its own; env uses the job's.
		d.Command = append([]string{"/usr/bin/env"}, d.Command...)
		if _, set := d.Env["PATH"]; !set {
			d.Env["PATH"] = "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
		}
	}
	if d.EnvFile != "" {
		// launchd reads no environment file. The shell does, and is then replaced.
		d.Command = append([]string{"/bin/sh", "-c", `set -a; . "$0"; set +a; exec "$@"`, d.EnvFile}, d.Command...)
	}
	limits, err := softLimits(in)
	if err != nil {
		return d, err
	}
	job := dict{
		{"Label", d.Service},
		{"ProgramArguments", d.Command},
		{"WorkingDirectory", d.Workdir},
		{"EnvironmentVariables", sortedDict(d.Env)},
	}
	if d.User != "" {
		job = append(job, entry{"UserName", d.User})
	}
	job = append(job, dict{
		{"RunAtLoad", true},
		{"KeepAlive", true},
		{"ThrottleInterval", 1}, // the default holds a restart back for 10 s
		{"ExitTimeOut", d.stopSeconds()},
		{"StandardOutPath", d.Logs[0]},
		{"StandardErrorPath", d.Logs[1]},
	}...)
	if len(limits) > 0 {
		job = append(job, entry{"SoftResourceLimits", limits})
	}
	d.Content, err = plist(job)
	if err != nil {
		return d, hostFault(in, "%v", err)
	}
	return d, nil
}

// softLimits are the role's limits by launchd's names for them.
func softLimits(in roleInput) (dict, error) {
	known := []string{"Core", "CPU", "Data", "FileSize", "MemoryLock", "NumberOfFiles", "NumberOfProcesses", "ResidentSetSize", "Stack"}
	var limits dict
	for _, key := range slices.Sorted(maps.Keys(in.Role.Host.Limits)) {
		n, err := strconv.Atoi(in.Role.Host.Limits[key])
		if err != nil || !slices.Contains(known, key) {
			return nil, hostFault(in, "host.limits: %s: %q is no soft resource limit of launchd (%s, each a number)",
				key, in.Role.Host.Limits[key], strings.Join(known, ", "))
		}
		limits = append(limits, entry{key, n})
	}
	return limits, nil
}

type entry struct {
	key   string
	value any // string, []string, bool, int or dict
}

// dict is a property list's dictionary in the order in which it is written.
type dict []entry

func sortedDict(m map[string]string) dict {
	var d dict
	for _, key := range slices.Sorted(maps.Keys(m)) {
		d = append(d, entry{key, m[key]})
	}
	return d
}

func plist(d dict) (string, error) {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	b.WriteString(`<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">` + "\n<plist version=\"1.0\">\n")
	if err := writeValue(&b, "", d); err != nil {
		return "", err
	}
	b.WriteString("</plist>\n")
	return b.String(), nil
}

func writeValue(b *bytes.Buffer, indent string, value any) error {
	switch value := value.(type) {
	case string:
		return writeText(b, indent, "string", value)
	case int:
		fmt.Fprintf(b, "%s<integer>%d</integer>\n", indent, value)
	case bool:
		fmt.Fprintf(b, "%s<%t/>\n", indent, value)
	case []string:
		b.WriteString(indent + "<array>\n")
		for _, item := range value {
			if err := writeText(b, indent+"  ", "string", item); err != nil {
				return err
			}
		}
		b.WriteString(indent + "</array>\n")
	case dict:
		b.WriteString(indent + "<dict>\n")
		for _, e := range value {
			if err := writeText(b, indent+"  ", "key", e.key); err != nil {
				return err
			}
			if err := writeValue(b, indent+"  ", e.value); err != nil {
				return err
			}
		}
		b.WriteString(indent + "</dict>\n")
	default:
		return fmt.Errorf("a property list cannot hold a %T", value)
	}
	return nil
}

// writeText writes an element's text. What XML cannot hold would be replaced
// silently, so it is refused.
func writeText(b *bytes.Buffer, indent, element, s string) error {
	var escaped bytes.Buffer
	if err := xml.EscapeText(&escaped, []byte(s)); err != nil {
		return err
	}
	if strings.Contains(escaped.String(), "\uFFFD") && !strings.Contains(s, "\uFFFD") {
		return fmt.Errorf("%q holds a character that XML cannot", s)
	}
	fmt.Fprintf(b, "%s<%s>%s</%s>\n", indent, element, escaped.String(), element)
	return nil
}
