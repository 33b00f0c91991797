package diagnose

import (
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/release"
)

// What admission and the schema check answer is told apart by its wording, which is
// the same in all supported versions of Kubernetes.
var (
	schemaWording  = pattern.Lazy(`failed to create typed patch object|field not declared in schema|unable to decode|strict decoding error|.*: expected .* got`)
	webhookWording = pattern.Lazy(`failed calling (webhook|admission webhook)|failed to call webhook`)
)

// SchemaMismatch reports that an object does not fit the schema of its kind.
func SchemaMismatch(message string) bool { return schemaWording().MatchString(message) }

// WebhookUnreachable reports that an admission webhook did not answer, which may pass.
func WebhookUnreachable(message string) bool { return webhookWording().MatchString(message) }

// AdmissionCode is the code for what admission said when it refused an object or a pod.
func AdmissionCode(message string) release.Code {
	switch {
	case strings.Contains(message, "exceeded quota"), strings.Contains(message, "failed quota"):
		return release.CodeQuotaExceeded
	case strings.Contains(message, "PodSecurity"):
		return release.CodePodSecurity
	case strings.Contains(message, "serviceaccount") && strings.Contains(message, "not found"):
		return release.CodeServiceAccountMissing
	case strings.Contains(message, "no PriorityClass with name"):
		return release.CodePriorityClassMissing
	case strings.Contains(message, "RuntimeClass") && strings.Contains(message, "not found"):
		return release.CodeRuntimeClassMissing
	case strings.Contains(message, "usage per"), strings.Contains(message, "LimitRange"):
		return release.CodeLimitRange
	case WebhookUnreachable(message):
		return release.CodeWebhookUnreachable
	default:
		return release.CodeAdmissionDenied
	}
}

// RefusedPods is the cause for a controller that could not create pods, by what
// admission said.
func RefusedPods(message string) *Cause {
	c := &Cause{Code: AdmissionCode(message), Message: release.OneLine(message), Grace: AtOnce}
	switch c.Code {
	case release.CodeWebhookUnreachable:
		c.Grace, c.Hint = AtTimeout, "an admission webhook does not answer; the controller goes on trying"
	case release.CodeQuotaExceeded:
		c.Grace, c.Hint = quotaGrace, "raise the ResourceQuota, or let the rollout take pods away first (maxSurge: 0)"
	case release.CodePodSecurity:
		c.Hint = "the namespace's Pod Security level does not take this pod: see its securityContext"
	case release.CodeServiceAccountMissing:
		c.Hint = "create the ServiceAccount, or put it among the role's manifests"
	}
	return c
}
