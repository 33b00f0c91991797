package deploy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/ledger/ledgertest"
	"github.com/joelhooks/shipit/release"
)

// environment is an app in an environment of its own, with a repository of its own.
func environment(t *testing.T, name string, roles ...string) *app {
	t.Helper()
	a := newApp(t, roles...)
	a.Config.Environment = name
	a.Config.Images = map[string]config.Image{"worker": {Repository: "registry.test/" + name + "/worker"}}
	for i := range a.Config.Roles {
		a.Config.Roles[i].Image = "worker"
	}
	return a
}

// of is a release in the environment of the app.
func (a *app) of(sha, digest, version string) release.Release {
	rel := release.Release{App: "bus", Kind: release.KindRelease, SHA: sha, Version: version}
	for _, r := range a.Config.Roles {
		rel.Roles = append(rel.Roles, release.Role{Name: r.Name, Target: onMemory, Image: r.Image, Repository: a.Config.Images[r.Image].Repository,
			Digest: digest, Key: "inputs of " + digest, Aliases: []string{digest + "-amd64"}})
	}
	return rel
}

// promote promotes what is good in another environment, as the command does.
func (a *app) promote(t *testing.T, from *app, terms deploy.Terms) (release.Record, error) {
	t.Helper()
	good, err := from.Good(t.Context())
	if err != nil {
		return release.Record{}, err
	}
	rel, err := a.Promotion(good, good.Version)
	if err != nil {
		return release.Record{}, err
	}
	for i := range rel.Roles {
		rel.Roles[i].Target = onMemory // the configuration of these tests names none
	}
	if err := a.VerifySource(t.Context(), rel); err != nil {
		return release.Record{}, err
	}
	return a.ship(t, rel, terms)
}

func TestAPromotionShipsTheVeryDigestsThatAreGoodElsewhere(t *testing.T) {
	both := func(t *testing.T) (staging, production *app) {
		staging, production = environment(t, "staging", "cluster", "gateway"), environment(t, "production", "cluster", "gateway")
		_, err := staging.ship(t, staging.of(newSHA, newBits, "1.5.0"), deploy.Terms{})
		require.NoError(t, err)
		_, err = production.ship(t, production.of(oldSHA, oldBits, "1.4.0"), deploy.Terms{})
		require.NoError(t, err)
		production.target.calls = nil
		return staging, production
	}

	t.Run("the record says where they come from", func(t *testing.T) {
		staging, production := both(t)
		record, err := production.promote(t, staging, deploy.Terms{})
		require.NoError(t, err)
		require.True(t, record.Good())
		require.Equal(t, release.KindPromotion, record.Kind)
		require.EqualValues(t, 2, record.Seq)
		require.Equal(t, newSHA, record.SHA)
		require.Equal(t, "production", record.Environment)
		require.Equal(t, []string{"switch cluster " + newBits, "switch gateway " + newBits}, production.target.calls)
		require.Equal(t, "registry.test/production/worker", record.Roles[0].Repository)
		require.Equal(t, "inputs of "+newBits, record.Roles[0].Key)
		require.Equal(t, []string{newBits + "-amd64"}, record.Roles[0].Aliases)
		want := &release.Promoted{Environment: "staging", Seq: 1, SHA: newSHA, Version: "1.5.0", Images: []release.PromotedImage{
			{Name: "worker", Repository: "registry.test/staging/worker", Digest: newBits},
		}}
		require.Equal(t, want, record.From)
		sealed, err := production.Ledger.Read(t.Context(), 2)
		require.NoError(t, err)
		require.Equal(t, want, sealed.Record.From)
	})
	t.Run("a rollback undoes it, and can go back to it", func(t *testing.T) {
		staging, production := both(t)
		_, err := production.promote(t, staging, deploy.Terms{})
		require.NoError(t, err)
		record, err := production.Rollback(t.Context(), "", deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, oldSHA, record.SHA)
		require.Equal(t, oldBits, production.target.runs["gateway"])
		record, err = production.Rollback(t.Context(), "2", deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.KindRollback, record.Kind)
		require.EqualValues(t, 2, record.Origin)
		require.Nil(t, record.From, "it comes from its origin")
		require.Equal(t, newBits, production.target.runs["gateway"])
	})
	t.Run("one promotion is rolled back to another", func(t *testing.T) {
		staging, production := both(t)
		_, err := production.promote(t, staging, deploy.Terms{})
		require.NoError(t, err)
		_, err = staging.ship(t, staging.of(shaOf("3"), "sha256:3", "1.6.0"), deploy.Terms{})
		require.NoError(t, err)
		_, err = production.promote(t, staging, deploy.Terms{})
		require.NoError(t, err)
		record, err := production.Rollback(t.Context(), "", deploy.Terms{})
		require.NoError(t, err)
		require.EqualValues(t, 2, record.Origin)
	})
	t.Run("what runs already as recorded is left", func(t *testing.T) {
		staging, production := both(t)
		_, err := production.promote(t, staging, deploy.Terms{})
		require.NoError(t, err)
		production.target.calls = nil
		record, err := production.promote(t, staging, deploy.Terms{})
		require.NoError(t, err)
		require.True(t, record.Unchanged)
		require.EqualValues(t, 2, record.Seq)
		require.Empty(t, production.target.calls)
	})
	t.Run("one that fails is restored, and its record says where it came from", func(t *testing.T) {
		staging, production := both(t)
		production.target.switches = crash("gateway", newBits)
		record, err := production.promote(t, staging, deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Restored, record.Outcome)
		require.EqualValues(t, 1, record.Restored)
		require.Equal(t, "staging", record.From.Environment)
		require.Equal(t, oldBits, production.target.runs["cluster"])
	})
	t.Run("what the policy of the target does not trust is refused where it comes from", func(t *testing.T) {
		staging, production := both(t)
		var asked []string
		production.Policy.Verify = func(_ context.Context, role release.Role, _ map[string][]byte) (deploy.Verified, error) {
			asked = append(asked, role.Reference())
			return deploy.Verified{}, &deploy.UntrustedError{Err: errors.New("signed by another key")}
		}
		_, err := production.promote(t, staging, deploy.Terms{Allow: []release.Code{release.CodeUntrusted}})
		var refusal *release.Refusal
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, release.CodeUntrusted, refusal.Findings[0].Code)
		require.Equal(t, []string{"registry.test/staging/worker@" + newBits}, asked, "nothing was copied yet")
		require.Empty(t, production.target.calls)
	})
	t.Run("and what it does not trust there, after it was copied", func(t *testing.T) {
		staging, production := both(t)
		production.Policy.Verify = func(_ context.Context, role release.Role, _ map[string][]byte) (deploy.Verified, error) {
			if role.Repository == "registry.test/production/worker" {
				return deploy.Verified{}, &deploy.UntrustedError{Err: errors.New("nobody signed it")}
			}
			return deploy.Verified{}, nil
		}
		_, err := production.promote(t, staging, deploy.Terms{})
		var refusal *release.Refusal
		require.ErrorAs(t, err, &refusal)
		require.Empty(t, production.target.calls)
	})
	t.Run("a lower version than the target's is a downgrade", func(t *testing.T) {
		staging, production := both(t)
		_, err := production.ship(t, production.of(shaOf("4"), "sha256:4", "1.6.0"), deploy.Terms{})
		require.NoError(t, err)
		_, err = production.promote(t, staging, deploy.Terms{})
		var refusal *release.Refusal
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, release.CodeDowngrade, refusal.Findings[0].Code)
		record, err := production.promote(t, staging, deploy.Terms{Allow: []release.Code{release.CodeDowngrade}})
		require.NoError(t, err)
		require.True(t, record.Good())
	})
}

// alter changes a record in a store as no command would.
func alter(t *testing.T, store ledger.Store, name, old, to string) {
	t.Helper()
	entry, err := store.Read(t.Context(), name)
	require.NoError(t, err)
	entry.Parts = maps.Clone(entry.Parts)
	entry.Parts["record"] = bytes.ReplaceAll(entry.Parts["record"], []byte(old), []byte(to))
	store.(*ledgertest.Store).Remove(name)
	_, err = store.Create(t.Context(), entry)
	require.NoError(t, err)
}

// shaOf is a commit that ends in a digit.
func shaOf(digit string) string { return newSHA[:len(newSHA)-1] + digit }

func TestWhatIsPromotedIsTheNewestGoodRelease(t *testing.T) {
	t.Run("nothing is good yet", func(t *testing.T) {
		staging, production := environment(t, "staging", "cluster"), environment(t, "production", "cluster")
		_, err := production.promote(t, staging, deploy.Terms{})
		require.EqualError(t, err, "nothing is good in staging yet")
		var unchanged *deploy.UnchangedError
		require.ErrorAs(t, err, &unchanged)
	})
	t.Run("one that failed since, and one that was withdrawn, are passed over", func(t *testing.T) {
		staging, production := environment(t, "staging", "cluster"), environment(t, "production", "cluster")
		for _, v := range []string{"1", "2", "3"} {
			staging.target.switches = crash("cluster", "sha256:3")
			_, err := staging.ship(t, staging.of(shaOf(v), "sha256:"+v, "1."+v+".0"), deploy.Terms{})
			require.NoError(t, err)
		}
		_, err := staging.Withdraw(t.Context(), 2, "it leaks")
		require.NoError(t, err)
		record, err := production.promote(t, staging, deploy.Terms{})
		require.NoError(t, err)
		require.EqualValues(t, 1, record.From.Seq)
		require.Equal(t, "sha256:1", production.target.runs["cluster"])
	})
	t.Run("one whose record was altered is not promoted", func(t *testing.T) {
		staging, production := environment(t, "staging", "cluster"), environment(t, "production", "cluster")
		sum := func(content []byte) []byte { s := sha256.Sum256(content); return s[:] }
		staging.Ledger = ledger.New(staging.store, "bus", ledger.Options{
			Sign: func(_ context.Context, content []byte) ([]byte, error) { return sum(content), nil },
			VerifySignature: func(_ context.Context, content, signature []byte) error {
				if !bytes.Equal(sum(content), signature) {
					return errors.New("it signs something else")
				}
				return nil
			},
		})
		_, err := staging.ship(t, staging.of(newSHA, newBits, "1.5.0"), deploy.Terms{})
		require.NoError(t, err)
		alter(t, staging.store, "000001", newBits, oldBits)
		_, err = production.promote(t, staging, deploy.Terms{})
		var altered *ledger.AlteredError
		require.ErrorAs(t, err, &altered)
		require.Empty(t, production.target.calls)
	})
	t.Run("after a rollback there it is what was rolled back to", func(t *testing.T) {
		staging, production := environment(t, "staging", "cluster"), environment(t, "production", "cluster")
		for _, v := range []string{"1", "2"} {
			_, err := staging.ship(t, staging.of(shaOf(v), "sha256:"+v, "1."+v+".0"), deploy.Terms{})
			require.NoError(t, err)
		}
		_, err := staging.Rollback(t.Context(), "", deploy.Terms{})
		require.NoError(t, err)
		record, err := production.promote(t, staging, deploy.Terms{})
		require.NoError(t, err)
		require.EqualValues(t, 3, record.From.Seq)
		require.Equal(t, shaOf("1"), record.SHA)
		require.Equal(t, "sha256:1", production.target.runs["cluster"])
	})
	t.Run("what ran there before the first release has no commit", func(t *testing.T) {
		staging, production := environment(t, "staging", "cluster"), environment(t, "production", "cluster")
		staging.target.runs["cluster"] = foundBits
		_, err := staging.ship(t, staging.of(newSHA, newBits, "1.5.0"), deploy.Terms{})
		require.NoError(t, err)
		_, err = staging.Rollback(t.Context(), "0", deploy.Terms{})
		require.NoError(t, err)
		_, err = production.promote(t, staging, deploy.Terms{})
		require.EqualError(t, err, "what is good in staging ran there before its first release: nobody knows its commit")
		require.Empty(t, production.target.calls)
	})
	t.Run("an image that does not run there cannot be promoted", func(t *testing.T) {
		staging, production := environment(t, "staging", "cluster"), environment(t, "production", "cluster", "site")
		production.Config.Roles[1].Image = "site"
		_, err := staging.ship(t, staging.of(newSHA, newBits, "1.5.0"), deploy.Terms{})
		require.NoError(t, err)
		_, err = production.promote(t, staging, deploy.Terms{})
		require.EqualError(t, err, "site: NotPromotable: its image site runs in no role of #1 1e30000 in staging")
	})
}

func TestOneLineOfRecordsIsOfOneEnvironment(t *testing.T) {
	a := environment(t, "staging", "cluster")
	_, err := a.ship(t, a.of(oldSHA, oldBits, "1.4.0"), deploy.Terms{})
	require.NoError(t, err)
	a.Config.Environment = "production" // and nothing else of the settings differs
	_, err = a.ship(t, a.of(newSHA, newBits, "1.5.0"), deploy.Terms{})
	require.EqualError(t, err, "OtherEnvironment: #1 01d0000 is of staging, and this release is of production: what runs in the one would be replaced by the other")
	_, err = a.ship(t, a.of(oldSHA, oldBits, "1.4.0"), deploy.Terms{})
	require.ErrorContains(t, err, "OtherEnvironment", "what runs just so runs for staging")
	history, err := a.Read(t.Context())
	require.NoError(t, err)
	plan, err := a.Plan(t.Context(), a.of(newSHA, newBits, "1.5.0"), deploy.Terms{History: history}, nil)
	require.NoError(t, err)
	require.Equal(t, release.CodeOtherEnvironment, plan.Findings[0].Code)
	record, err := a.ship(t, a.of(newSHA, newBits, "1.5.0"), deploy.Terms{Allow: []release.Code{release.CodeOtherEnvironment}})
	require.NoError(t, err)
	require.True(t, record.Good(), "an environment may get another name")
	_, err = a.ship(t, a.of(shaOf("5"), "sha256:5", "1.5.1"), deploy.Terms{})
	require.NoError(t, err)
}

func TestAReleaseOfAnotherEnvironmentThatLandsMeanwhileCounts(t *testing.T) {
	for _, allow := range [][]release.Code{nil, {release.CodeOtherEnvironment}} {
		a := environment(t, "production", "cluster")
		a.target.asked = func() {
			staging := *a
			staging.Config.Environment = "staging"
			_, err := staging.ship(t, a.of(oldSHA, oldBits, "1.4.0"), deploy.Terms{})
			require.NoError(t, err)
		}
		record, err := a.ship(t, a.of(newSHA, newBits, "1.5.0"), deploy.Terms{Allow: allow})
		if allow == nil {
			require.ErrorContains(t, err, "OtherEnvironment: #1 01d0000 is of staging")
			require.Equal(t, oldBits, a.target.runs["cluster"])
			continue
		}
		require.NoError(t, err)
		require.Equal(t, allow, record.Allowed)
	}
}
