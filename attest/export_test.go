package attest

import "context"

// What the tests of this package call, and nobody else.
const (
	SignatureType  = signatureType
	DeploymentType = deploymentType
	RecordType     = recordType
)

var DeploymentOf = deploymentOf

type Deployment = deployment

// VerifyBundles is for the tests of this package.
func (a *Attestor) VerifyBundles(ctx context.Context, stored [][]byte, digest string, opt VerifyOptions) (Verified, error) {
	return a.verifyBundles(ctx, stored, digest, opt)
}
