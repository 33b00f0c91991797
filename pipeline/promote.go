package pipeline

import (
	"context"
	"fmt"
	"reflect"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/registry"
	"github.com/joelhooks/shipit/release"
)

// Promote ensures that every image of a promotion is in the repository of its role, by
// the same digest, with what is attached to it and under the commit's tags. Nothing is
// built. Tags are written last, as by Publish.
func (p Publisher) Promote(ctx context.Context, rel release.Release) error {
	for _, image := range rel.From.Images {
		for _, role := range rel.Roles {
			if role.Image != image.Name {
				continue
			}
			if err := p.promote(ctx, rel.SHA, image, role); err != nil {
				return fmt.Errorf("image %s: %w", image.Name, err)
			}
			break
		}
	}
	return nil
}

// promote brings one image to the repository of a role.
func (p Publisher) promote(ctx context.Context, sha string, from release.PromotedImage, role release.Role) error {
	tags := p.versionTags()
	if role.Key != "" {
		tags = append(tags, inputsTag(role.Key))
	}
	if from.Repository == role.Repository {
		_, err := p.Registry.Tag(ctx, role.Repository, role.Digest, append(tags, sha)...)
		return err
	}
	source := from.Repository + "@" + from.Digest
	p.report(release.PhasePush, release.MarkStart, "copy %s from %s", from.Name, from.Repository)
	artifact, err := p.Registry.Artifact(ctx, source)
	if err != nil {
		return err
	}
	attached := 0
	_, err = p.Registry.Publish(ctx, registry.Publication{
		Repository: role.Repository, Artifact: artifact, SHA: sha, Tags: tags,
		Attest: func(ctx context.Context) (err error) {
			attached, err = p.Signer.CopyAttached(ctx, source, role.Reference())
			return err
		},
	})
	if err != nil {
		return err
	}
	p.report(release.PhasePush, release.MarkDone, "copied %s %s with %d attestation(s)", from.Name, release.ShortDigest(role.Digest), attached)
	return nil
}

// SettingsDiffer finds images that a release of the target would not build as the other
// environment has: their settings differ in more than the repository.
func SettingsDiffer(from, to config.Config) []release.Finding {
	var found []release.Finding
	for _, name := range to.ImageNames() {
		a, b := from.Images[name], to.Images[name]
		a.Repository, b.Repository = "", ""
		if reflect.DeepEqual(a, b) {
			continue
		}
		found = append(found, release.Finding{
			Code: release.CodeImageSettings, Severity: release.Refuses, Object: "images." + name,
			Message: fmt.Sprintf("%s and %s give the image different settings, so a release in %s would not be the image that is good in %s",
				release.EnvironmentName(from.Environment), release.EnvironmentName(to.Environment), release.EnvironmentName(to.Environment), release.EnvironmentName(from.Environment)),
			Hint: "put what differs into the env of the roles, or release the commit there",
		})
	}
	return found
}
