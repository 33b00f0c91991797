package kube

import (
	"regexp"
	"strings"
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
func admissionCode(message string) string {
	switch {
	case strings.Contains(message, "exceeded quota"), strings.Contains(message, "failed quota"):
		return "QuotaExceeded"
	case strings.Contains(message, "PodSecurity"):
		return "PodSecurity"
	case strings.Contains(message, "serviceaccount") && strings.Contains(message, "not found"):
		return "ServiceAccountMissing"
	case strings.Contains(message, "no PriorityClass with name"):
		return "PriorityClassMissing"
	case strings.Contains(message, "RuntimeClass") && strings.Contains(message, "not found"):
		return "RuntimeClassMissing"
	case strings.Contains(message, "usage per"), strings.Contains(message, "LimitRange"):
		return "LimitRange"
	case webhookAway(message):
		return "WebhookUnreachable"
	default:
		return "AdmissionDenied"
	}
}
