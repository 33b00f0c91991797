package attest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// attachmentPrefix begins the names of the attachments of a record that are the
// bundles of an image.
func attachmentPrefix(digest string) string {
	return "bundle." + strings.TrimPrefix(digest, "sha256:")[:12] + "."
}

// Attachments are the bundles of the image with that digest, to be stored with a
// record by these names.
func (v Verified) Attachments(digest string) map[string][]byte {
	all := map[string][]byte{}
	for i, b := range v.Bundles {
		all[attachmentPrefix(digest)+fmt.Sprint(i)] = b.JSON
	}
	return all
}

// VerifyRecorded verifies the image of a recorded role by the bundles that are stored
// with the record, so that neither Sigstore nor the registry is needed. Where none is
// stored, or what is stored does not satisfy the policy, the registry's count too.
func (a *Attestor) VerifyRecorded(ctx context.Context, role release.Role, stored map[string][]byte) (Verified, error) {
	var bundles [][]byte
	for _, key := range slices.Sorted(maps.Keys(stored)) {
		if strings.HasPrefix(key, attachmentPrefix(role.Digest)) {
			bundles = append(bundles, stored[key])
		}
	}
	if len(bundles) == 0 {
		return a.Verify(ctx, role.Reference(), VerifyOptions{Recorded: true})
	}
	got, err := a.verifyBundles(ctx, bundles, role.Digest, VerifyOptions{Recorded: true})
	var untrusted *UntrustedError
	if !errors.As(err, &untrusted) {
		return got, err
	}
	// The policy may require more than is stored; the registry may have it.
	if attached, aerr := a.Verify(ctx, role.Reference(), VerifyOptions{Recorded: true}); aerr == nil {
		return attached, nil
	}
	return got, err
}
