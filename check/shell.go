package check

import (
	"path"
	"slices"
	"strings"
)

// split cuts shell text into the simple commands in it, each as its
// words. It knows quotes, comments and separators, and no more: what is asked
// of it is which programs are named.
func split(text string) [][]string {
	var commands [][]string
	var words []string
	var word strings.Builder
	quote, inWord := rune(0), false
	endWord := func() {
		if inWord {
			words = append(words, word.String())
		}
		word.Reset()
		inWord = false
	}
	endCommand := func() {
		endWord()
		if len(words) > 0 {
			commands = append(commands, words)
		}
		words = nil
	}
	comment, escaped := false, false
	for _, r := range text {
		switch {
		case comment:
			comment = r != '\n'
		case escaped:
			escaped = false
			if r != '\n' {
				word.WriteRune(r)
				inWord = true
			}
		case r == '\\' && quote != '\'':
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
				continue
			}
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == '#' && !inWord:
			comment = true
		case strings.ContainsRune(" \t\r", r):
			endWord()
		case strings.ContainsRune("\n;&|(){}`", r):
			endCommand()
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	endCommand()
	return commands
}

// program is what a simple command starts, by its bare name, and its arguments:
// without variables set before it, and without words that only start another.
func program(words []string) (string, []string) {
	for len(words) > 0 {
		name := path.Base(words[0])
		before, _, assigns := strings.Cut(words[0], "=")
		switch {
		case assigns && !strings.ContainsAny(before, "/-"):
			words = words[1:]
		case slices.Contains([]string{"exec", "env", "sudo", "command", "nohup", "time", "if", "then", "else", "do", "while", "!", "tini", "dumb-init", "--"}, name):
			words = words[1:]
		case strings.HasPrefix(words[0], "-"):
			words = words[1:] // a flag of such a word
		default:
			return name, words[1:]
		}
	}
	return "", nil
}

// shellText is the text that a shell is given with -c; false if words start no
// shell, or a script in a file.
func shellText(words []string) (string, bool) {
	name, args := program(words)
	if !slices.Contains([]string{"sh", "bash", "dash", "zsh", "ash"}, name) {
		return "", false
	}
	for i, arg := range args {
		if strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--") && strings.HasSuffix(arg, "c") && i+1 < len(args) {
			return args[i+1], true
		}
	}
	return "", false
}

// action is the first argument that is neither a flag nor a flag's value,
// and the arguments from there on.
func action(args []string) (string, []string) {
	withValue := []string{"-C", "-c", "--git-dir", "--work-tree", "--filter", "-F", "--dir", "--cwd", "--prefix", "--config", "--env-file", "--preload", "-r"}
	for i := 0; i < len(args); i++ {
		switch {
		case slices.Contains(withValue, args[i]):
			i++
		case !strings.HasPrefix(args[i], "-"):
			return args[i], args[i:]
		}
	}
	return "", nil
}

// ran is what a package manager or bun is asked to run: a file, or a script.
func ran(args []string) string {
	verb, rest := action(args)
	if verb == "run" || verb == "run-script" {
		verb, _ = action(rest[1:])
	}
	return verb
}

// mutation says how a simple command changes what runs, "" if it does not.
func mutation(words []string) string {
	name, args := program(words)
	verb, _ := action(args)
	is := func(verbs ...string) bool { return slices.Contains(verbs, verb) }
	switch name {
	case "git":
		if is("pull", "fetch", "clone", "checkout", "switch", "reset", "merge", "rebase", "submodule") {
			return "git " + verb
		}
	case "bun", "npm", "pnpm", "yarn":
		if is("install", "i", "ci", "add", "update", "upgrade", "up", "link", "dlx", "x") {
			return name + " " + verb
		}
		if name == "yarn" && verb == "" && !slices.Contains(args, "--version") {
			return "yarn, which installs,"
		}
	case "bunx", "npx":
		if !slices.Contains(args, "--no-install") {
			return name
		}
	case "rsync":
		return name
	case "apt", "apt-get", "apk", "pip", "pip3", "brew", "dnf", "yum":
		if is("install", "add", "upgrade", "update") {
			return name + " " + verb
		}
	}
	return ""
}

// installs reports whether a simple command runs bun so that it fetches a
// missing package from the registry at run time.
func installs(words []string) bool {
	name, args := program(words)
	if name != "bun" {
		return false
	}
	what := ran(args)
	if what == "" || slices.Contains([]string{"build", "pm", "test"}, what) {
		return false
	}
	// What follows the script's name is the script's.
	return !slices.Contains(args[:slices.Index(args, what)], "--no-install")
}
