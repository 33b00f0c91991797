package manifests

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// refused are the findings that refuse a release of the manifests, as text.
func refused(t *testing.T, manifest string, allow ...release.Code) string {
	t.Helper()
	in := simple(ownImage, map[string]string{"k.yaml": ownPod + manifest}, "k.yaml")
	objects, err := render(in)
	require.NoError(t, err)
	notes, err := notesOf(in.Role, objects)
	require.NoError(t, err)
	if err := release.Refuse(notes, allow); err != nil {
		return err.Error()
	}
	return ""
}

func TestASecretWithValuesIsRefused(t *testing.T) {
	for _, field := range []string{"data: {password: aHVudGVyMg==}", "stringData: {password: hunter2}"} {
		secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n" + field + "\n"
		said := refused(t, secret)
		require.Contains(t, said, "SecretInManifests Secret joelclaw/s: its values are in the commit, and would be kept with every record and its copy in the registry")
		require.NotContains(t, said, "hunter2")
		require.Empty(t, refused(t, secret, release.CodeSecretInManifests), "--allow SecretInManifests")
	}
	require.Empty(t, refused(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: s, annotations: {a: b}}\ntype: kubernetes.io/service-account-token\n"), "a Secret that others fill in")
	require.Empty(t, refused(t, "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: s}\nspec: {encryptedData: {password: AgBy}}\n"), "a sealed one")
}

func TestAJobThatIsDeletedAfterItEndedIsRefused(t *testing.T) {
	job := "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate}\nspec:\n  ttlSecondsAfterFinished: 2\n  template: {spec: {restartPolicy: Never, containers: [{name: c, image: " + ownImage + "}]}}\n"
	require.Contains(t, refused(t, job), "JobExpires Job joelclaw/migrate: is deleted 2 s after it has ended: status would miss it, and the next release would run it again")
	require.Empty(t, refused(t, job, release.CodeJobExpires), "--allow JobExpires")
	require.Empty(t, refused(t, strings.Replace(job, "  ttlSecondsAfterFinished: 2\n", "", 1)))
	cron := "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly}\nspec:\n  schedule: '0 3 * * *'\n  jobTemplate: {spec: {ttlSecondsAfterFinished: 2, template: {spec: {restartPolicy: Never, containers: [{name: c, image: " + ownImage + "}]}}}}\n"
	require.Empty(t, refused(t, cron), "the Jobs of a CronJob are nobody's record")
}

// notesOf are the notes of a release of one role.
func notesOf(role config.Role, objects []json.RawMessage) ([]release.Finding, error) {
	return notesOn(config.Config{Roles: config.Roles{role}}, release.Release{Roles: []release.Role{{Name: role.Name, Objects: objects}}})
}
