package kube

import (
	"regexp"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// What admission and the schema answer is told apart by wording, which is the
// same over all versions that are supported.
var (
	schemaWording  = regexp.MustCompile(`failed to create typed patch object|field not declared in schema|unable to decode|strict decoding error|.*: expected .* got`)
	webhookWording = regexp.MustCompile(`failed calling (webhook|admission webhook)|failed to call webhook`)
)

func schemaFault(message string) bool { return schemaWording.MatchString(message) }

// webhookAway reports that an admission webhook did not answer, which may pass.
func webhookAway(message string) bool { return webhookWording.MatchString(message) }

// admissionCode names what refused an object or a pod.
func admissionCode(message string) release.Code {
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
	case webhookAway(message):
		return release.CodeWebhookUnreachable
	default:
		return release.CodeAdmissionDenied
	}
}
