package service

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/release"
)

// AsFound is the definition of the service as it was before the first release. file is
// its file, nil if there is none where a release puts it.
func (d Definition) AsFound(file []byte, s State) Definition {
	was := release.FoundService{Enabled: s.Enabled, Up: s.PID > 0 || s.Phase == PhaseRunning || s.Phase == PhaseRestarting, Hash: FileHash(file)}
	if s.PID > 0 {
		was.Folder = strings.TrimSuffix(s.Cwd, deletedMark)
	}
	says := startsOf(d.Kind, string(file))
	d.Found, d.Digest, d.Content, d.Env, d.User = &was, "", hideSecrets(d.Kind, file), nil, ""
	d.Workdir, d.Command = says.Dir, maskAll(says.Command)
	if !s.Serves() {
		d.Port = 0
	}
	return d
}

// FileHash is the hash of a service's file, as FoundService has it; "" for nil: there is
// none.
func FileHash(file []byte) string {
	if file == nil {
		return ""
	}
	sum := sha256.Sum256(file)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// IsAsFound reports whether nothing has to be done for the service to be as it was; hash
// is that of its file now, "" if there is none.
func (s State) IsAsFound(d Definition, hash string) bool {
	up := !d.Found.Up || s.Runs(d) && (d.Port == 0 || s.Serves())
	return up && hash == d.Found.Hash && !s.outdated && !s.Switching && !s.Installed
}

// FoundNotes says in what a service is not as it was before the first release; empty if
// it is.
func (s State) FoundNotes(d Definition, hash string) []string {
	var notes []string
	add := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if hash != d.Found.Hash {
		add("%s is not the one that was there before the first release", d.File)
	}
	if s.PID > 0 && d.Found.Up && !s.Runs(d) {
		add("PID %d runs in %s, not in %s", s.PID, s.Cwd, d.Found.Folder)
	}
	if s.outdated {
		add("the service manager has not read the unit or its drop-in files as they are now")
	}
	if d.Found.Enabled && !s.Enabled && s.Phase != PhaseAbsent {
		add("%s is disabled: it does not start with the machine", d.Service)
	}
	if s.Switching {
		add("a switch began and did not end")
	}
	return notes
}

var (
	// An assignment of a unit: "NAME=VALUE", 'NAME=VALUE' or NAME=VALUE, whose value may be
	// quoted.
	assignment = pattern.Lazy(`"([A-Za-z_]\w*)=[^"\n]*"?|'([A-Za-z_]\w*)=[^'\n]*'?|\b([A-Za-z_]\w*)=(?:"[^"\n]*"?|'[^'\n]*'?|[^\s"']*)`)
	// A variable of a plist, and an argument that names a secret before the next one.
	plistPair = pattern.Lazy(`(<key>([^<]*)</key>\s*<string>)([^<]*)(</string>)`)
	plistFlag = pattern.Lazy(`(?i)(<string>-[^<=]*(?:pass|secret|token|api[_-]?key|credential)[^<=]*</string>\s*<string>)([^<]*)`)
	plistWord = pattern.Lazy(`<string>([^<]*)</string>`)

	passwordOfURL = pattern.Lazy(`(://[^/\s:@]*:)[^@\s]+@`)
)

const hidden = "***"

// hideSecrets is the text of a service's file without what looks like a secret; empty if
// it is no text. A file that it leaves as it is can be written again from it.
func hideSecrets(kind string, file []byte) string {
	text := string(file)
	if !utf8.ValidString(text) {
		return ""
	}
	text = passwordOfURL().ReplaceAllString(text, "${1}"+hidden+"@")
	if kind == "launchd" {
		return hideInPlist(text)
	}
	lines := strings.SplitAfter(text, "\n")
	key, flag, goesOn := "", "", false // flag: the last word of the line before, if it goes on
	for i, line := range lines {
		head, _, _ := strings.Cut(line, "=")
		if !goesOn {
			key = strings.TrimSpace(head)
		}
		switch {
		case strings.HasPrefix(key, "SetCredential"):
			lines[i] = "SetCredential=" + hidden + "\n"
		case key == "Environment" && goesOn:
			lines[i] = hideAssignments(line)
		case key == "Environment":
			lines[i] = head + "=" + hideAssignments(line[min(len(head)+1, len(line)):])
		case strings.HasPrefix(key, "Exec") && secretName().MatchString(flag):
			lines[i] = hidden + line[len(strings.TrimRight(line, "\n\\ ")):]
		case strings.HasPrefix(key, "Exec"):
			lines[i] = MaskWords(line)
		}
		body := strings.TrimRight(line, "\n")
		goesOn, flag = strings.HasSuffix(body, `\`), ""
		if words := strings.Fields(strings.TrimSuffix(body, `\`)); goesOn && len(words) > 0 {
			flag = words[len(words)-1]
		}
	}
	return strings.Join(lines, "")
}

// hideAssignments hides the values of the variables whose names say that they are secret.
func hideAssignments(line string) string {
	return assignment().ReplaceAllStringFunc(line, func(pair string) string {
		part := assignment().FindStringSubmatch(pair)
		if name := part[1] + part[2] + part[3]; secretName().MatchString(name) {
			return name + "=" + hidden
		}
		return pair
	})
}

func hideInPlist(text string) string {
	text = plistFlag().ReplaceAllString(text, "${1}"+hidden)
	text = plistPair().ReplaceAllStringFunc(text, func(pair string) string {
		if part := plistPair().FindStringSubmatch(pair); secretName().MatchString(part[2]) {
			return part[1] + hidden + part[4]
		}
		return pair
	})
	return plistWord().ReplaceAllStringFunc(text, func(word string) string {
		return "<string>" + MaskWords(plistWord().FindStringSubmatch(word)[1]) + "</string>"
	})
}

func maskAll(words []string) []string {
	if len(words) == 0 {
		return nil
	}
	return strings.Fields(MaskWords(strings.Join(words, " ")))
}
