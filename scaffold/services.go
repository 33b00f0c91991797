package scaffold

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// service is what a machine runs: a launchd job or a systemd unit.
type service struct {
	manager string // launchd or systemd
	name    string // label, or unit name without .service
	file    string
	program []string
	dir     string // working directory, on the machine
	user    string
	domain  string // user or gui; "" for the system's
	env     []setting
	envFile string
}

// services are the jobs and units that stay up; what a timer starts is none.
func services(f files) []service {
	var found []service
	for _, at := range f.named(".plist") {
		if s, ok := launchdService(at, f.text(at)); ok {
			found = append(found, s)
		}
	}
	for _, at := range f.named(".service") {
		if s, ok := systemdService(at, f.text(at)); ok && !f.has(strings.TrimSuffix(at, ".service")+".timer") {
			found = append(found, s)
		}
	}
	return found
}

func launchdService(file, text string) (service, bool) {
	value, err := plistValue(xml.NewDecoder(strings.NewReader(text)))
	dict, ok := value.(map[string]any)
	if err != nil || !ok {
		return service{}, false
	}
	for _, key := range []string{"StartInterval", "StartCalendarInterval", "WatchPaths", "QueueDirectories"} {
		if _, timed := dict[key]; timed {
			return service{}, false
		}
	}
	s := service{manager: "launchd", file: file, name: asString(dict["Label"]), dir: asString(dict["WorkingDirectory"]), user: asString(dict["UserName"])}
	if list, ok := dict["ProgramArguments"].([]any); ok {
		for _, item := range list {
			s.program = append(s.program, asString(item))
		}
	} else if program := asString(dict["Program"]); program != "" {
		s.program = []string{program}
	}
	if env, ok := dict["EnvironmentVariables"].(map[string]any); ok {
		for name, value := range env {
			s.env = append(s.env, setting{name, asString(value)})
		}
		slices.SortFunc(s.env, func(a, b setting) int { return strings.Compare(a.name, b.name) })
	}
	if s.user == "" {
		s.domain = "gui" // only a job of the system names the user that it runs as
	}
	return s, s.name != "" && len(s.program) > 0
}

func asString(value any) string {
	s, _ := value.(string)
	return s
}

// plistValue reads the first value: a string, or a dict or array of them. Numbers,
// booleans and dates are nil.
func plistValue(d *xml.Decoder) (any, error) {
	for {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		if element, ok := token.(xml.StartElement); ok && element.Name.Local != "plist" {
			return plistElement(d, element)
		}
		if _, ends := token.(xml.EndElement); ends {
			return nil, io.EOF
		}
	}
}

func plistElement(d *xml.Decoder, element xml.StartElement) (any, error) {
	switch element.Name.Local {
	case "string", "key":
		var s string
		err := d.DecodeElement(&s, &element)
		return strings.TrimSpace(s), err
	case "array":
		list := []any{}
		for {
			item, err := plistValue(d)
			if errors.Is(err, io.EOF) {
				return list, nil
			}
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
	case "dict":
		dict := map[string]any{}
		for {
			key, err := plistValue(d)
			if errors.Is(err, io.EOF) {
				return dict, nil
			}
			if err != nil {
				return nil, err
			}
			if dict[fmt.Sprint(key)], err = plistValue(d); err != nil {
				return nil, err
			}
		}
	}
	return nil, d.Skip()
}

func systemdService(file, text string) (service, bool) {
	s := service{manager: "systemd", file: file, name: strings.TrimSuffix(path.Base(file), ".service")}
	kind, section := "", ""
	for _, line := range continued(strings.ReplaceAll(text, "\n;", "\n#")) {
		entry := strings.TrimSpace(line.text)
		if strings.HasPrefix(entry, "[") {
			section = entry
			continue
		}
		key, value, ok := strings.Cut(entry, "=")
		if !ok || section != "[Service]" {
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "ExecStart":
			s.program = strings.Fields(strings.TrimLeft(value, "-@:+!"))
		case "WorkingDirectory":
			s.dir = value
		case "User":
			s.user = value
		case "Environment":
			s.env = append(s.env, variables(value)...)
		case "EnvironmentFile":
			s.envFile = strings.TrimPrefix(value, "-")
		case "Type":
			kind = value
		}
	}
	if slices.Contains(strings.Split(path.Dir(file), "/"), "user") {
		s.domain = "user"
	}
	return s, len(s.program) > 0 && kind != "oneshot" && !strings.Contains(s.name, "@")
}
