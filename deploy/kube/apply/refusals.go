package apply

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/diagnose"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// Refusals turns the server's answer into findings, one a field; nil if the answer
// does not refuse the object.
func Refusals(role string, id object.ID, err error) []release.Finding {
	finding := func(code release.Code, message, hint string) release.Finding {
		return release.Finding{Code: code, Severity: release.Refuses, Role: role, Object: id.String(), Message: release.OneLine(message), Hint: hint}
	}
	fixed := func(f release.Finding) release.Finding { f.Fixed = true; return f }
	var conflict *ConflictError
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &conflict):
		var out []release.Finding
		for _, c := range conflict.Conflicts {
			out = append(out, finding(release.CodeFieldConflict, fmt.Sprintf("%s is owned by %q", c.Field, c.Manager), conflict.Hint()))
		}
		return out
	case client.IsForbidden(err) != nil:
		forbidden := client.IsForbidden(err)
		return []release.Finding{fixed(finding(release.CodeForbidden, forbidden.Error(), forbidden.Hint()))}
	case !errors.As(err, &status):
		return nil
	}
	s := status.Status()
	switch {
	case apierrors.IsInvalid(err) && s.Details != nil && len(s.Details.Causes) > 0:
		var out []release.Finding
		for _, cause := range s.Details.Causes {
			out = append(out, fixed(finding(release.CodeInvalidObject, cause.Field+": "+cause.Message, "")))
		}
		return out
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), s.Code == 500 && diagnose.SchemaMismatch(s.Message):
		return []release.Finding{fixed(finding(release.CodeInvalidObject, s.Message, ""))}
	case diagnose.WebhookUnreachable(s.Message):
		return []release.Finding{finding(release.CodeWebhookUnreachable, s.Message, "an admission webhook does not answer; nothing can be applied until it does")}
	case apierrors.IsForbidden(err):
		return []release.Finding{fixed(finding(diagnose.AdmissionCode(s.Message), s.Message, ""))}
	case apierrors.IsNotFound(err):
		return []release.Finding{fixed(finding(release.CodeNamespaceMissing, s.Message, "`kubectl create namespace "+id.Namespace+"` creates it, or put it among the role's manifests"))}
	}
	return nil
}
