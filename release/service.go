package release

// LocalMachine is the address of the machine that shipit runs on.
const LocalMachine = "local"

// ServiceDefinition is the one object of a host role: the file of its service,
// and all that is needed to run it again later without the configuration. It
// names no commit: equal bits render equal definitions, and an equal definition
// restarts nothing.
type ServiceDefinition struct {
	Kind    string `json:"kind"` // systemd or launchd
	App     string `json:"app"`
	Role    string `json:"role"`
	Service string `json:"service"`       // unit name without .service, or launchd label
	Domain  string `json:"domain"`        // systemd: system or user; launchd: system, gui/UID, user/UID
	File    string `json:"file"`          // base name of the unit or plist
	Dir     string `json:"dir,omitempty"` // folder of the file; empty: the one that the manager reads
	Content string `json:"content"`       // the file

	// Address is the machine as the configuration names it for SSH, LocalMachine for
	// the one that shipit runs on, or empty in a record that does not tell.
	Address string `json:"address,omitempty"`

	Root    string            `json:"root"`              // holds releases/, absolute
	Digest  string            `json:"digest"`            // of the image, sha256:…
	Workdir string            `json:"workdir"`           // the package in <root>/releases/<hex>, where the image is unpacked
	Command []string          `json:"command"`           // as the manager starts it
	Env     map[string]string `json:"env"`               // no secrets
	EnvFile string            `json:"envFile,omitempty"` // of secrets, on the machine
	User    string            `json:"user,omitempty"`
	Port    int               `json:"port,omitempty"`     // 0: none
	Stop    int64             `json:"stopTimeoutMs"`      // from SIGTERM to SIGKILL
	Stable  int64             `json:"stableMs,omitempty"` // how long it must stay up after it was ready; 0: the host's default
	Logs    []string          `json:"logs,omitempty"`     // that launchd writes; their folder must exist before the start

	// Found says that this is a service that ran before the first release. Content is its
	// file, in which what looks like a secret is hidden; it has no digest.
	Found *FoundService `json:"found,omitempty"`
}

// FoundService is how a service was before the first release.
type FoundService struct {
	Hash    string `json:"hash"`    // sha256:… of its file, as it was; "": the file was not where a release puts it
	Folder  string `json:"folder"`  // in which its process worked; "" if there was none
	Enabled bool   `json:"enabled"` // it started with the machine
	Up      bool   `json:"up"`      // it ran
}
