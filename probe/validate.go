package probe

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// Validate finds errors in the configuration of probes. The Object of a finding is
// the key in the configuration.
func Validate(cfg config.Config) []release.Finding {
	l, err := newLanguage()
	if err != nil {
		return []release.Finding{{Code: release.CodeProbeExpression, Severity: release.Refuses, Message: err.Error(), Fixed: true}}
	}
	v := validation{language: l}
	for _, role := range cfg.Roles {
		v.role = role
		key := "roles." + role.Name
		if role.Probe != nil {
			v.probe(key+".probe", *role.Probe)
		}
		for i, p := range role.Probes {
			v.probe(fmt.Sprintf("%s.probes[%d]", key, i), p)
		}
		if role.Register != nil {
			v.register(key+".register", *role.Register)
		}
	}
	v.role = config.Role{}
	if cfg.Functions.IDs != "" {
		v.expression("functions.ids", cfg.Functions.IDs, l.compile)
	}
	return v.findings
}

type validation struct {
	language
	role     config.Role
	findings []release.Finding
}

func (v *validation) refuse(code release.Code, key, message, hint string) {
	v.findings = append(v.findings, release.Finding{
		Code: code, Severity: release.Refuses, Role: v.role.Name, Object: key, Message: message, Hint: hint, Fixed: true,
	})
}

func (v *validation) expression(key, text string, compile func(string) (expression, error)) {
	if _, err := compile(text); err != nil {
		v.refuse(release.CodeProbeExpression, key, err.Error(), "variables: status, headers, text, json, role")
	}
}

func (v *validation) conditions(key string, texts []string) {
	for i, text := range texts {
		v.expression(fmt.Sprintf("%s.expect[%d]", key, i), strings.ReplaceAll(text, "${ID}", "ID"), v.condition)
	}
}

func (v *validation) probe(key string, p config.Probe) {
	v.conditions(key, p.Expect)
	if p.Path != "" {
		v.address(key+".path", p.Path, p.Port)
	}
	if _, err := regexp.Compile(p.Output); err != nil {
		v.refuse(release.CodeProbePattern, key+".output", err.Error(), "")
	}
	if p.Event != nil {
		v.request(key+".event.send", p.Event.Send, p.Port)
		v.request(key+".event.await", p.Event.Await, p.Port)
		if p.Event.ID != "" {
			v.expression(key+".event.id", p.Event.ID, v.compile)
		}
	}
}

func (v *validation) register(key string, r config.Register) {
	v.conditions(key, r.Expect)
	if r.Path != "" {
		v.address(key+".path", r.Path, 0)
	}
	if f, faulty := addressFault(v.role); faulty {
		v.findings = append(v.findings, f)
	}
	switch {
	case r.Path == "" && r.Ask == nil:
		v.refuse(release.CodeProbeRequest, key, "it has "+askedNothing, askHint)
	case r.Ask == nil:
		v.findings = append(v.findings, release.Finding{
			Code: release.CodeRegistrationUnasked, Severity: release.Warns, Role: v.role.Name, Object: key,
			Message: "the worker's answer alone does not say which URL the server has", Hint: "set register.ask to a request that the server answers with it",
		})
	}
	if r.URL != "" {
		v.expression(key+".url", r.URL, v.compile)
	}
	if r.Ask != nil {
		v.request(key+".ask", *r.Ask, 0)
	}
}

func (v *validation) request(key string, r config.Request, port int) {
	v.address(key+".url", r.URL, port)
	v.conditions(key, r.Expect)
	texts := []string{r.URL, r.Body}
	for _, value := range r.Headers {
		texts = append(texts, value)
	}
	for _, text := range texts {
		for _, m := range secretRule().FindAllStringSubmatch(text, -1) {
			if _, set := os.LookupEnv(m[1]); !set {
				v.findings = append(v.findings, release.Finding{
					Code: release.CodeProbeVariable, Severity: release.Warns, Role: v.role.Name, Object: key,
					Message: fmt.Sprintf("the environment variable %s is not set here", m[1]), Hint: "set it where shipit release runs",
				})
			}
		}
	}
}

// address checks for a path, if the role has a port, or an HTTP URL.
func (v *validation) address(key, address string, port int) {
	if strings.HasPrefix(address, "/") {
		if port == 0 && v.role.Port == 0 {
			v.refuse(release.CodeProbeRequest, key, "the role has no port", "set port on the role")
		}
		return
	}
	bare := secretRule().ReplaceAllString(address, "x")
	u, err := url.Parse(strings.ReplaceAll(bare, "${ID}", "ID"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		v.refuse(release.CodeProbeRequest, key, fmt.Sprintf("%q is neither a path nor an http URL", address), "")
	}
}
