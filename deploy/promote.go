package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/joelhooks/shipit/release"
)

// NothingToPromoteError says that no release of an environment is good.
type NothingToPromoteError struct {
	Environment string
	Adopted     bool // what ran before the first release is good, and has no commit
}

func (e *NothingToPromoteError) Error() string {
	if e.Adopted {
		return fmt.Sprintf("what is good in %s ran there before its first release: nobody knows its commit", release.EnvironmentName(e.Environment))
	}
	return fmt.Sprintf("nothing is good in %s yet", release.EnvironmentName(e.Environment))
}

// Hint says what to type.
func (e *NothingToPromoteError) Hint() string {
	if e.Environment == "" {
		return "shipit release"
	}
	return "shipit release --env " + e.Environment
}

// Good is the newest good record: what should run here, and what can be promoted. A
// *NothingToPromoteError says that there is none.
func (e Engine) Good(ctx context.Context) (release.Record, error) {
	h, err := e.Read(ctx)
	if err != nil {
		return release.Record{}, Unchanged(err)
	}
	entry, err := e.find(ctx, h, newestGood())
	var none *release.NoneError
	if errors.As(err, &none) || err == nil && entry.Record.Adopted { // what ran before any release was not built from a commit
		err = &NothingToPromoteError{Environment: e.Config.Environment, Adopted: entry.Record.Adopted}
	}
	return entry.Record, Unchanged(err)
}

// Promotion is a good record of another environment as a release of this one, without
// objects: the roles are those of the configuration, the digests those of the record. A
// *release.Refusal says which role's image the record does not have.
func (e Engine) Promotion(from release.Record, version string) (release.Release, error) {
	rel := release.Release{App: e.Config.App, Kind: release.KindPromotion, SHA: from.SHA, Version: version, From: release.Promote(from)}
	var missing []release.Finding
	for _, settings := range e.Config.Roles {
		i := slices.IndexFunc(from.Roles, func(r release.RoleRecord) bool { return r.Image == settings.Image })
		if i < 0 {
			missing = append(missing, release.Finding{Code: release.CodeNotPromotable, Severity: release.Refuses, Role: settings.Name,
				Message: fmt.Sprintf("its image %s runs in no role of %s in %s", settings.Image, from.ID(), release.EnvironmentName(from.Environment)),
				Hint:    "run the image in a role there, or release the commit here instead of promoting it"})
			continue
		}
		image := from.Roles[i]
		rel.Roles = append(rel.Roles, release.Role{Name: settings.Name, Target: settings.Target(), Image: settings.Image,
			Repository: e.Config.Images[settings.Image].Repository, Digest: image.Digest, Key: image.Key, Aliases: image.Aliases})
	}
	return rel, Unchanged(release.Refuse(missing, nil))
}

// VerifySource verifies the images of a promotion where they come from by the policy of
// this environment, so that nothing is copied that would not be let run. A
// *release.Refusal says what is not trusted.
func (e Engine) VerifySource(ctx context.Context, rel release.Release) error {
	rel.Roles = slices.Clone(rel.Roles)
	for i, role := range rel.Roles {
		for _, image := range rel.From.Images {
			if image.Name == role.Image {
				rel.Roles[i].Repository = image.Repository
			}
		}
	}
	_, untrusted, err := e.verifyImages(ctx, rel, nil)
	if err == nil {
		err = release.Refuse(untrusted, nil)
	}
	return Unchanged(err)
}
