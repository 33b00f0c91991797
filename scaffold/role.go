package scaffold

import (
	"slices"
	"strconv"
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
)

func (a *author) role(r *role) {
	a.line(1, scalar(r.name), "", "")
	a.line(2, "image", scalar(r.image.name), "")
	switch {
	case r.workload != nil:
		a.inCluster(r)
	case r.service != nil:
		a.onHost(r)
	default:
		a.line(2, "kubernetes", "", "no manifest and no service names it; host: {manager: systemd, service: …} runs it on a machine")
		a.ask(3, "namespace", "default", "the namespace in which it runs")
		a.reached(r.image.docker.port, place(r.image.docker.file, 0), located{}, "")
	}
}

// inCluster writes a role that has manifests, which stay as they are.
func (a *author) inCluster(r *role) {
	w := r.workload
	a.line(2, "kubernetes", "", "")
	if name, from := w.ns(); name != "" {
		a.line(3, "namespace", scalar(name), from)
	} else {
		a.ask(3, "namespace", "default", "the namespace in which "+w.entry+" runs, which says none")
	}
	entries := append([]string{w.entry}, r.more...)
	from := ""
	if brings := w.brings(r.container); len(brings) > 0 {
		from = "with " + strings.Join(brings, ", ")
	}
	if w.unsure != "" {
		a.ask(3, "manifests", list(entries), w.unsure)
	} else {
		a.line(3, "manifests", list(entries), from)
	}
	health := r.container.health()
	a.reached(r.container.port(), w.file, health, place(w.file, health.line))
}

// reached writes the port of a role and the path by which it is asked.
func (a *author) reached(port int, from string, health located, healthFrom string) {
	if port == 0 {
		return
	}
	a.line(2, "port", strconv.Itoa(port), from)
	if health.text != "" {
		a.line(2, "probe", "{path: "+scalar(health.text)+"}", healthFrom)
	}
}

var secretRule = pattern.Lazy(`(?i)(token|secret|passw|api_?key|private|credential)`)

// onHost writes a role that is a service of a machine.
func (a *author) onHost(r *role) {
	s := r.service
	a.line(2, "host", "", "")
	if r.other != nil {
		a.ask(3, "manager", s.manager, "whether "+s.file+" runs it, or "+r.other.file+", which starts the same by "+r.other.manager)
	} else {
		a.line(3, "manager", s.manager, s.file)
	}
	a.line(3, "service", scalar(s.name), "")
	switch {
	case s.domain == "gui":
		a.ask(3, "domain", "gui/501", "the id of the user whose session runs it (id -u); system if it is a LaunchDaemon")
	case s.domain != "":
		a.line(3, "domain", s.domain, "")
	}
	if s.user != "" {
		a.line(3, "user", scalar(s.user), "")
	}
	envFile, from := a.envFile(s)
	if envFile != "" {
		a.line(3, "envFile", scalar(envFile), from)
	}
	command, _ := r.image.command()
	if program, version, from := a.runtime(r.image, command); version != "" {
		a.line(3, "runtime", "{"+program+": "+strconv.Quote("^"+version)+"}", from)
	}
	if len(command) > 0 && !starts(s.program, command) {
		a.note(3, "%s starts %s; shipit starts the image's entrypoint", s.file, a.program(s))
		if envFile == "" {
			a.askAlone(3, "envFile: a file of the machine with the secrets that "+a.program(s)+" sets before it starts the program, if it does")
		}
	}
	a.askAlone(3, "address: [user@]host, if it is not the machine where shipit runs")
	var env []setting
	for _, v := range s.env {
		if secretRule().MatchString(v.name) && v.value != "" && !strings.HasPrefix(v.value, "/") {
			a.askAlone(3, "envFile: a file of the machine that sets "+v.name+", which "+s.file+" has in the open")
			continue
		}
		env = append(env, v)
	}
	if r.variable.name != "" && !slices.Contains(env, r.variable) {
		env = append(env, r.variable)
	}
	a.variables(2, "env", s.file, env)
	a.likeTheCluster(r)
}

// likeTheCluster writes the port and the path by which another role of the same image
// is asked, as the same program serves them; or those that its source tells of.
func (a *author) likeTheCluster(r *role) {
	port, from := r.image.docker.port, r.image.docker.file
	var health located
	var healthFrom string
	for _, other := range r.image.roles {
		if other.workload != nil && other.container.port() > 0 {
			port, from = other.container.port(), "as role "+other.name
			health, healthFrom = other.container.health(), from
			break
		}
	}
	for _, v := range r.service.env {
		if own, err := strconv.Atoi(v.value); v.name == "PORT" && err == nil {
			port, from = own, r.service.file
		}
	}
	if port == 0 {
		file, listens, asked := r.image.served(a.files)
		port, _ = strconv.Atoi(listens.text)
		from, health, healthFrom = place(file, listens.line), asked, place(file, asked.line)
	}
	if port == 0 {
		a.askAlone(2, "port and probe: {path: …}, by which to see that it is healthy, if it serves HTTP; without them only that it stays up is seen")
		return
	}
	a.reached(port, from, health, healthFrom)
}

// starts reports whether a program runs what the entrypoint runs.
func starts(program, entrypoint []string) bool {
	file := script(entrypoint)
	return file != "" && slices.ContainsFunc(program, func(word string) bool { return word == file || strings.HasSuffix(word, "/"+file) })
}
