package explain

import (
	"fmt"
	"strings"

	"github.com/joelhooks/shipit/config"
)

// Doc is docs/config.md: every setting, a table for each mapping.
func Doc() string {
	var b strings.Builder
	b.WriteString("# shipit.yaml\n\n" +
		"Every setting, as `shipit explain KEY` tells it. `*` stands for a name of yours, `[]` for the items of a list. A setting without a default\n" +
		"is empty or off. A key that is not here is an error that names its line. [inngest.md](inngest.md) tells in sentences, and by example,\n" +
		"what `register`, `event`, `functions`, `prove`, `forbid` and `envFile` are for.\n\n" +
		"Editors complete and check the file by its JSON Schema: `shipit init` writes the line that shows them the way,\n\n" +
		"```yaml\n# yaml-language-server: $schema=" + config.SchemaURL + "\n```\n\n" +
		"and `shipit explain --schema` prints the schema of the shipit that you have.\n\n" +
		"This file is generated from the types of package `config`: `go test -run TestConfigDoc -update .` writes it.\n")
	section(&b, answer("", config.Settings()))
	for _, a := range all() {
		if full, err := Find(a.Name); err == nil && len(full.Settings) > 0 && isMapping(full) {
			section(&b, full)
		}
	}
	return b.String()
}

// isMapping reports whether the settings of a stand right below it, so that a table
// of them is not written twice.
func isMapping(a Answer) bool { return a.Type == "mapping" && a.Name != "environments" }

func section(b *strings.Builder, a Answer) {
	title := "Top level"
	if a.Name != "" {
		title = "`" + a.Name + "`"
	}
	fmt.Fprintf(b, "\n## %s\n\n", title)
	if a.Name != "" {
		fmt.Fprintf(b, "%s\n\n", a.Description)
	}
	b.WriteString("| key | type | default | what it is | example |\n|---|---|---|---|---|\n")
	for _, s := range a.Settings {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", last(s.Name), s.Type, defaultCell(s), cell(descriptionCell(s)), code(s.Example))
	}
}

func defaultCell(s Answer) string {
	switch {
	case s.Required:
		return "required"
	case strings.HasPrefix(s.Default, "("):
		return cell(strings.Trim(s.Default, "()"))
	default:
		return code(s.Default)
	}
}

func descriptionCell(s Answer) string {
	if len(s.Choices) == 0 {
		return s.Description
	}
	return s.Description + " One of `" + strings.Join(s.Choices, "`, `") + "`."
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + cell(text) + "`"
}

func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }
