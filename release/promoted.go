package release

// Promoted is what a promotion has shipped: a good release of another environment.
type Promoted struct {
	Environment string          `json:"environment"` // "" for none
	Seq         int64           `json:"seq"`         // of its record there
	SHA         string          `json:"sha"`
	Version     string          `json:"version,omitempty"`
	Images      []PromotedImage `json:"images"`
}

// PromotedImage is one image of it, as it runs there.
type PromotedImage struct {
	Name       string `json:"name"` // in shipit.yaml
	Repository string `json:"repository"`
	Digest     string `json:"digest"`
}

// Promote is what a promotion of a record ships.
func Promote(r Record) *Promoted {
	p := &Promoted{Environment: r.Environment, Seq: r.Seq, SHA: r.SHA, Version: r.Version}
	seen := map[string]bool{}
	for _, role := range r.Roles {
		if !seen[role.Image] {
			seen[role.Image] = true
			p.Images = append(p.Images, PromotedImage{Name: role.Image, Repository: role.Repository, Digest: role.Digest})
		}
	}
	return p
}

// EnvironmentName is how people read the name of an environment.
func EnvironmentName(name string) string {
	if name == "" {
		return "the default environment"
	}
	return name
}
