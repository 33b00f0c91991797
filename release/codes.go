package release

import (
	"slices"
	"strings"
)

// Code names what a Finding or a Failure is about. Codes are stable: scripts
// branch on them. Every code is declared here and explained by Codes.
type Code string

// The codes of what the commit's tree, its manifests and shipit.yaml tell.
const (
	CodeBadManifest        Code = "BadManifest"
	CodeBadPattern         Code = "BadPattern"
	CodeBasePlaceholder    Code = "BasePlaceholder"
	CodeDowngrade          Code = "Downgrade"
	CodeDuplicate          Code = "Duplicate"
	CodeDuplicateFunction  Code = "DuplicateFunction"
	CodeForbiddenReference Code = "ForbiddenReference"
	CodeFunctionList       Code = "FunctionList"
	CodeIgnoredSetting     Code = "IgnoredSetting"
	CodeJobExpires         Code = "JobExpires"
	CodeConfigOutside      Code = "ConfigOutside"
	CodeImageNotMentioned  Code = "ImageNotMentioned"
	CodeImageNotPinned     Code = "ImageNotPinned"
	CodeNoFunctionLeft     Code = "NoFunctionLeft"
	CodeNoReadinessProbe   Code = "NoReadinessProbe"
	CodeNotRead            Code = "NotRead"
	CodeOtherNamespace     Code = "OtherNamespace"
	CodeProbeExpression    Code = "ProbeExpression"
	CodeProbePattern       Code = "ProbePattern"
	CodeProbeRequest       Code = "ProbeRequest"
	CodeProbeVariable      Code = "ProbeVariable"
	CodeRemoteBase         Code = "RemoteBase"
	CodeRunMissing         Code = "RunMissing"
	CodeRuntimeInstall     Code = "RuntimeInstall"
	CodeRuntimeMutation    Code = "RuntimeMutation"
	CodeSecretInManifests  Code = "SecretInManifests"
	CodeTodo               Code = "Todo"
	CodeVersionOutside     Code = "VersionOutside"
	CodeWorkflowPaths      Code = "WorkflowPaths"
)

// The codes of how a worker registers with its function server.
const (
	CodeRegistrationAddress Code = "RegistrationAddress"
	CodeRegistrationUnasked Code = "RegistrationUnasked"
)

// The codes of the closure of an image and the image that was built.
const (
	CodeDependencyUndeclared   Code = "DependencyUndeclared"
	CodeEntrypointMissing      Code = "EntrypointMissing"
	CodeExportMissing          Code = "ExportMissing"
	CodeForeignPackage         Code = "ForeignPackage"
	CodeForeignScript          Code = "ForeignScript"
	CodeFunctionsFailed        Code = "FunctionsFailed"
	CodeImageForeign           Code = "ImageForeign"
	CodeImageStartFailed       Code = "ImageStartFailed"
	CodeImportUnresolved       Code = "ImportUnresolved"
	CodeIncludeMissing         Code = "IncludeMissing"
	CodeLFSPointer             Code = "LFSPointer"
	CodeLinkDangling           Code = "LinkDangling"
	CodeLinkOutside            Code = "LinkOutside"
	CodeLockfileStale          Code = "LockfileStale"
	CodePackageMissing         Code = "PackageMissing"
	CodePatchMissing           Code = "PatchMissing"
	CodePlatformPackageMissing Code = "PlatformPackageMissing"
	CodeRuntimeMissing         Code = "RuntimeMissing"
	CodeServiceNotRunnable     Code = "ServiceNotRunnable"
	CodeSubmodule              Code = "Submodule"
	CodeSyntaxRejected         Code = "SyntaxRejected"
	CodeAdoptedSecret          Code = "AdoptedSecret"
	CodeAdoptedUnsigned        Code = "AdoptedUnsigned"
	CodePolicyWeaker           Code = "PolicyWeaker"
	CodeImageSettings          Code = "ImageSettings"
	CodeNotPromotable          Code = "NotPromotable"
	CodeOtherEnvironment       Code = "OtherEnvironment"
	CodeReleaseTooLarge        Code = "ReleaseTooLarge"
	CodeSignerAway             Code = "SignerAway"
	CodeUntrusted              Code = "Untrusted"
)

// The codes of what a cluster is asked before the first change.
const (
	CodeBudgetBlocks        Code = "BudgetBlocks"
	CodeFieldConflict       Code = "FieldConflict"
	CodeForbidden           Code = "Forbidden"
	CodeForeignObject       Code = "ForeignObject"
	CodeInvalidObject       Code = "InvalidObject"
	CodeNamespaceMissing    Code = "NamespaceMissing"
	CodePullSecretMissing   Code = "PullSecretMissing"
	CodeRecordsElsewhere    Code = "RecordsElsewhere"
	CodeRoleDropped         Code = "RoleDropped"
	CodeStorageClassMissing Code = "StorageClassMissing"
	CodeTimeoutTooShort     Code = "TimeoutTooShort"
	CodeUnchecked           Code = "Unchecked"
	CodeUpdateByHand        Code = "UpdateByHand"
)

// The codes of what admission refuses, before or while a release is applied.
const (
	CodeAdmissionDenied       Code = "AdmissionDenied"
	CodeClaimMissing          Code = "ClaimMissing"
	CodeConfigMapKeyMissing   Code = "ConfigMapKeyMissing"
	CodeConfigMapMissing      Code = "ConfigMapMissing"
	CodeImageNotFound         Code = "ImageNotFound"
	CodeInvalidImageName      Code = "InvalidImageName"
	CodeLimitRange            Code = "LimitRange"
	CodeNoMatchingPlatform    Code = "NoMatchingPlatform"
	CodePodSecurity           Code = "PodSecurity"
	CodePriorityClassMissing  Code = "PriorityClassMissing"
	CodePullDenied            Code = "PullDenied"
	CodePullFailed            Code = "PullFailed"
	CodeQuotaExceeded         Code = "QuotaExceeded"
	CodeRegistryUnreachable   Code = "RegistryUnreachable"
	CodeRuntimeClassMissing   Code = "RuntimeClassMissing"
	CodeSecretKeyMissing      Code = "SecretKeyMissing"
	CodeSecretMissing         Code = "SecretMissing"
	CodeServiceAccountMissing Code = "ServiceAccountMissing"
	CodeUnschedulable         Code = "Unschedulable"
	CodeWebhookUnreachable    Code = "WebhookUnreachable"
)

// The codes of why a container or a pod does not serve.
const (
	CodeConfigNotSynced     Code = "ConfigNotSynced"
	CodeContainerConfig     Code = "ContainerConfig"
	CodeContainerNotCreated Code = "ContainerNotCreated"
	CodeCrashLoop           Code = "CrashLoop"
	CodeEvicted             Code = "Evicted"
	CodeExecFormat          Code = "ExecFormat"
	CodeImageNeverPulled    Code = "ImageNeverPulled"
	CodeInitFailed          Code = "InitFailed"
	CodeOOMKilled           Code = "OOMKilled"
	CodePodDeadline         Code = "PodDeadline"
	CodePodRejected         Code = "PodRejected"
	CodePodSandbox          Code = "PodSandbox"
	CodeRunsAsRoot          Code = "RunsAsRoot"
	CodeRuntimeClassUnknown Code = "RuntimeClassUnknown"
	CodeSchedulingGated     Code = "SchedulingGated"
	CodeSignatureRefused    Code = "SignatureRefused"
	CodeStartDelayed        Code = "StartDelayed"
	CodeStartFailed         Code = "StartFailed"
	CodeVolumeNotMounted    Code = "VolumeNotMounted"
)

// The codes of why a controller's object or a probe does not come up.
const (
	CodeClaimLost          Code = "ClaimLost"
	CodeDeadlineExceeded   Code = "DeadlineExceeded"
	CodeFunctionOwnership  Code = "FunctionOwnership"
	CodeJobFailed          Code = "JobFailed"
	CodeObjectFailed       Code = "ObjectFailed"
	CodePaused             Code = "Paused"
	CodeProbeFailed        Code = "ProbeFailed"
	CodeRegistrationFailed Code = "RegistrationFailed"
	CodeTimedOut           Code = "TimedOut"
)

// The codes of what a machine and its service manager tell.
const (
	CodeDiskSpace        Code = "DiskSpace"
	CodeEnvFileMissing   Code = "EnvFileMissing"
	CodeEnvFileOpen      Code = "EnvFileOpen"
	CodeForeignDirectory Code = "ForeignDirectory"
	CodeHostPermission   Code = "HostPermission"
	CodeLingerMissing    Code = "LingerMissing"
	CodeMountInside      Code = "MountInside"
	CodeNotPrepared      Code = "NotPrepared"
	CodePortNotServed    Code = "PortNotServed"
	CodePortTaken        Code = "PortTaken"
	CodeRuntimeVersion   Code = "RuntimeVersion"
	CodeServiceFailed    Code = "ServiceFailed"
	CodeServiceManager   Code = "ServiceManager"
	CodeStartsByHand     Code = "StartsByHand"
	CodeSecondProcess    Code = "SecondProcess"
	CodeStopTimeout      Code = "StopTimeout"
	CodeUnitOverridden   Code = "UnitOverridden"
	CodeUnitRejected     Code = "UnitRejected"
	CodeUserMissing      Code = "UserMissing"
)

// Codes that could be both findings and failures are told apart by CodeKind.
type CodeKind string

const (
	OfFinding CodeKind = "finding" // known before anything changes
	OfFailure CodeKind = "failure" // why a role did not come up
	OfBoth    CodeKind = "both"    // known before, or else found by the rollout
)

// CodeEntry explains one code.
type CodeEntry struct {
	Code    Code
	Kind    CodeKind
	Meaning string // one sentence
	Remedy  string // what to do, in one or two sentences
	Allow   bool   // --allow may take it: a finding that refuses a release, and that a user may answer for
}

// Codes explains every code, sorted by name.
func Codes() []CodeEntry {
	all := slices.Concat(treeCodes(), imageCodes(), refusalCodes(), admissionCodes(), podCodes(), workloadCodes(), hostCodes())
	slices.SortFunc(all, func(a, b CodeEntry) int { return strings.Compare(string(a.Code), string(b.Code)) })
	return all
}

// entry explains the code; false if the table does not have it.
func (c Code) entry() (CodeEntry, bool) {
	all := Codes()
	i := slices.IndexFunc(all, func(e CodeEntry) bool { return e.Code == c })
	if i < 0 {
		return CodeEntry{}, false
	}
	return all[i], true
}
