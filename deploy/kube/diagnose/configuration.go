package diagnose

import (
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/release"
)

var (
	missingKey    = pattern.Lazy(`couldn't find key (\S+) in (Secret|ConfigMap) (\S+)|references non-existent (secret|config) key`)
	missingObject = pattern.Lazy(`(secret|configmap)s? "([^"]+)" not found`)
	syncing       = pattern.Lazy(`(?i)failed to sync (secret|configmap) cache|timed out waiting|object .* not registered`)
)

// configuration reads why the kubelet cannot put a container's environment together.
func configuration(message string) Cause {
	switch {
	case syncing().MatchString(message):
		return Cause{Code: release.CodeConfigNotSynced, Message: message, Grace: AtTimeout}
	case missingKey().MatchString(message):
		code := release.CodeSecretKeyMissing
		if strings.Contains(message, "ConfigMap") || strings.Contains(message, "config key") {
			code = release.CodeConfigMapKeyMissing
		}
		return Cause{Code: code, Message: message, Grace: AtOnce, Hint: "add the key, or correct the reference to it"}
	case missingObject().MatchString(message):
		code := release.CodeSecretMissing
		if strings.Contains(missingObject().FindString(message), "configmap") {
			code = release.CodeConfigMapMissing
		}
		return Cause{Code: code, Message: message, Grace: AtOnce, Hint: "create it, or correct the reference to it"}
	case strings.Contains(message, "runAsNonRoot") || strings.Contains(message, "non-root policy") || strings.Contains(message, "non-numeric user"):
		return Cause{Code: release.CodeRunsAsRoot, Message: message, Grace: AtOnce, Hint: "give the image a numeric user other than 0, or set securityContext.runAsUser"}
	default:
		return Cause{Code: release.CodeContainerConfig, Message: message, Grace: AtOnce}
	}
}

// notMounted reads the events of volumes and of the pod sandbox; no status tells of them.
func notMounted(h *History) (Cause, bool) {
	w, ok := h.Last("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "FailedMapVolume")
	if !ok {
		return Cause{}, false
	}
	switch {
	case syncing().MatchString(w.Message):
		return Cause{Code: release.CodeConfigNotSynced, Message: w.Message, Grace: AtTimeout}, true
	case missingKey().MatchString(w.Message), missingObject().MatchString(w.Message):
		return configuration(w.Message), true
	case w.Reason == "FailedCreatePodSandBox" && strings.Contains(w.Message, "no runtime for"):
		return Cause{Code: release.CodeRuntimeClassUnknown, Message: w.Message, Grace: AtOnce, Hint: "the node does not have the pod's runtimeClassName"}, true
	case w.Reason == "FailedCreatePodSandBox":
		return Cause{Code: release.CodePodSandbox, Message: w.Message, Grace: AtTimeout}, true
	default:
		return Cause{Code: release.CodeVolumeNotMounted, Message: w.Message, Grace: AtTimeout}, true
	}
}
