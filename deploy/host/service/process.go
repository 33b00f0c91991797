package service

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// process is what the kernel tells of a service's main process.
type process struct {
	uid     string
	words   []string // of its command line
	root    string   // its root directory
	private bool     // its mount namespace is its own
}

// account is a user as the machine's database has it.
type account struct{ name, uid, home, shell string }

// parseAccount reads a line of passwd(5).
func parseAccount(line string) account {
	fields := strings.Split(line, ":")
	if len(fields) < 7 {
		return account{}
	}
	return account{name: fields[0], uid: fields[2], home: fields[5], shell: fields[6]}
}

// activation is what the main process was at the end of the switch. A program that
// replaces itself, drops privileges or renames itself is recognized by it.
type activation struct {
	unit      string // unitHash of the definition; empty: nothing was noted
	process   process
	variables []string // names of those that the program had set itself
}

// activation is the state as the activation of the definition.
func (s State) activation(d Definition) activation {
	return activation{unit: d.unitHash(), process: s.main, variables: slices.Sorted(maps.Keys(s.wrongVariables(d)))}
}

// Activated is the state at the end of a switch. The process, which has just been
// started as the unit says, is taken for what the definition gives, unless known is
// false: drop-in files in force say otherwise.
func (s State) Activated(d Definition, known bool) State {
	s.Switching, s.activated = false, activation{}
	if known {
		s.activated = s.activation(d)
	}
	return s
}

// Activation is the text of the definition's ActivationFile.
func (s State) Activation() string { return s.activated.String() }

// unitHash tells definitions of one service apart.
func (d Definition) unitHash() string {
	sum := sha256.Sum256([]byte(d.Digest + "\x00" + d.Content))
	return hex.EncodeToString(sum[:])
}

// ActivationFile keeps the activation on the machine.
func (d Definition) ActivationFile() string { return path.Join(d.Root, "activated", d.Service) }

// String is what activationFile holds; processFact reads it back.
func (a activation) String() string {
	lines := []string{
		"ActivatedUnit=" + a.unit,
		"ActivatedUid=" + a.process.uid,
		"ActivatedCmdline=" + hex.EncodeToString([]byte(strings.Join(a.process.words, "\x00"))),
		"ActivatedRoot=" + a.process.root,
		"ActivatedVariables=" + strings.Join(a.variables, " "),
	}
	if a.process.private {
		lines = append(lines, "ActivatedPrivate=yes")
	}
	return strings.Join(lines, "\n") + "\n"
}

// wrongProcess says in what the main process differs from the definition: environment,
// user, command, root directory. A program may change these itself at its start: what is
// as it was when this definition was activated is no difference.
func (s State) wrongProcess(d Definition) []string {
	if s.Phase != PhaseRunning || s.PID == 0 {
		return nil
	}
	var notes []string
	add := func(format string, args ...any) {
		notes = append(notes, fmt.Sprintf("PID %d ", s.PID)+fmt.Sprintf(format, args...))
	}
	before, noted := s.activated.process, s.activated.unit == d.unitHash()
	wrong := s.wrongVariables(d)
	if noted {
		maps.DeleteFunc(wrong, func(name, _ string) bool { return slices.Contains(s.activated.variables, name) })
	}
	if len(wrong) > 0 {
		var named []string
		for _, name := range slices.Sorted(maps.Keys(wrong)) {
			named = append(named, name+" "+wrong[name])
		}
		add("has not the environment of the release: %s", strings.Join(named[:min(len(named), 8)], ", "))
	}
	if uid := s.account.uid; uid != "" && s.main.uid != "" && s.main.uid != uid && !(noted && s.main.uid == before.uid) {
		add("runs as UID %s, not as %s (%s)", s.main.uid, s.account.name, uid)
	}
	if noted && len(s.main.words) > 0 && !startedAs(s.main.words, d.Command) && !slices.Equal(s.main.words, before.words) {
		add("runs %s, not %s", shown(strings.Join(s.main.words, " ")), shown(strings.Join(d.Command, " ")))
	}
	if s.main.root != "" && s.main.root != "/" && !(noted && s.main.root == before.root) {
		add("has the root directory %s", s.main.root)
	}
	if noted && s.main.private && !before.private {
		add("sees another file system: its mounts are its own")
	}
	return notes
}

// startedAs reports whether the words of a process are those of the command. The
// env before a command is gone once it has run the program, and a bare name may
// have become a path.
func startedAs(words, command []string) bool {
	if len(command) > 1 && command[0] == "/usr/bin/env" {
		command = command[1:]
	}
	if len(words) != len(command) || !slices.Equal(words[1:], command[1:]) {
		return false
	}
	if path.IsAbs(command[0]) {
		return words[0] == command[0]
	}
	return path.Base(words[0]) == command[0]
}

// processFact takes one KEY=VALUE of what the kernel tells of the main process,
// or told when it was activated; it returns false for other keys.
func (s *State) processFact(key, value string) bool {
	switch key {
	case "Environ":
		if block := unhex(value); block != "" {
			s.environ = variables(block)
			s.Release = s.environ["SHIPIT_RELEASE"]
		}
	case "ManagerEnv":
		name, text, _ := strings.Cut(value, "=")
		if s.manager == nil {
			s.manager = map[string]string{}
		}
		s.manager[name] = text
	case "EnvFile":
		text := unhex(value)
		s.envFile = &text
	case "Account":
		s.account = parseAccount(value)
	case "Uid":
		s.main.uid = value
	case "Cmdline":
		s.main.words = wordsOf(value)
	case "RootDir":
		s.main.root = strings.TrimSuffix(value, deletedMark)
	case "Private":
		s.main.private = true
	case "ActivatedUnit":
		s.activated.unit = value
	case "ActivatedUid":
		s.activated.process.uid = value
	case "ActivatedCmdline":
		s.activated.process.words = wordsOf(value)
	case "ActivatedRoot":
		s.activated.process.root = value
	case "ActivatedVariables":
		s.activated.variables = strings.Fields(value)
	case "ActivatedPrivate":
		s.activated.process.private = true
	default:
		return false
	}
	return true
}

func wordsOf(encoded string) []string {
	text := strings.TrimRight(unhex(encoded), "\x00")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\x00")
}

// unhex is the text of hexadecimal digits; what is none is empty.
func unhex(digits string) string {
	raw, err := hex.DecodeString(digits)
	if err != nil {
		return ""
	}
	return string(raw)
}

// wrongDirectory says where the main process runs, if that is not the directory
// of a release.
func (s State) wrongDirectory(d Definition) string {
	digest := s.LiveDigest(d)
	switch {
	case s.Phase != PhaseRunning || s.PID == 0:
		return ""
	case s.Cwd == "":
		return "the directory of PID " + strconv.Itoa(s.PID) + " cannot be read"
	case strings.HasSuffix(s.Cwd, deletedMark):
		return fmt.Sprintf("PID %d runs in a directory that was deleted: %s", s.PID, strings.TrimSuffix(s.Cwd, deletedMark))
	case strings.HasPrefix(digest, "path:"):
		return fmt.Sprintf("PID %d runs in a foreign directory: %s", s.PID, s.Cwd)
	case s.Release != digest:
		return fmt.Sprintf("PID %d runs in %s but SHIPIT_RELEASE says %q", s.PID, release.ShortDigest(digest), s.Release)
	}
	return ""
}
