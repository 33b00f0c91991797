package diagnose

import (
	"cmp"

	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/release"
)

var (
	unreachable   = pattern.Lazy(`(?i)dial tcp|i/o timeout|connection refused|connection reset|no such host|TLS handshake timeout|server misbehaving|network is unreachable|no route to host|deadline exceeded|unexpected EOF|: EOF|toomanyrequests|too many requests|status(?: code)?:? (?:429|5\d\d)|(?:^|[^:\d])(?:429|5\d\d) [A-Z]|service unavailable|QPS exceeded`)
	deniedPull    = pattern.Lazy(`(?i)unauthorized|authorization failed|failed to authorize|access denied|denied:|requested access|no basic auth credentials|insufficient_scope|authentication required|forbidden|\b40[13]\b`)
	wrongPlatform = pattern.Lazy(`(?i)no match for platform|no matching manifest|does not match the (?:specified|requested) platform|no image found in (?:manifest list|image index) for`)
	unknownImage  = pattern.Lazy(`(?i)manifest unknown|MANIFEST_UNKNOWN|NAME_UNKNOWN|name unknown|not found|repository .* does not exist|no such manifest|is not in the registry|\b404\b`)
	hexDigits     = pattern.Lazy(`[0-9a-f]{12,}`)
)

// Pull is the cause for an image that could not be pulled, by what the registry or
// the runtime said. A registry that is away comes first: its wording may hold that of
// the others.
func Pull(image, message string) Cause {
	message = cmp.Or(message, "cannot pull "+image)
	words := hexDigits().ReplaceAllString(message, "") // a digest may hold the digits of a status
	switch {
	case unreachable().MatchString(words):
		return Cause{Code: release.CodeRegistryUnreachable, Message: message, Grace: AtTimeout, Hint: "the node cannot reach the registry; it goes on trying"}
	case wrongPlatform().MatchString(words):
		return Cause{Code: release.CodeNoMatchingPlatform, Message: message, Grace: AtOnce, Hint: "build the image for the node's platform (images.<name>.platforms)"}
	case deniedPull().MatchString(words):
		return Cause{Code: release.CodePullDenied, Message: message, Grace: AtOnce, Hint: "the pod's imagePullSecrets do not open this repository, or it does not exist"}
	case unknownImage().MatchString(words):
		return Cause{Code: release.CodeImageNotFound, Message: message, Grace: AtOnce, Hint: "the registry does not have this digest or tag"}
	default:
		return Cause{Code: release.CodePullFailed, Message: message, Grace: unknownGrace}
	}
}
