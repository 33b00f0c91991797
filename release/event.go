package release

import "time"

// Phase is the part of a release that an Event belongs to.
type Phase string

const (
	PhaseSource  Phase = "source"
	PhaseBuild   Phase = "build"
	PhaseTest    Phase = "test" // while the build goes on
	PhasePush    Phase = "push"
	PhaseSign    Phase = "sign"
	PhaseCheck   Phase = "check" // what is refused early
	PhaseLock    Phase = "lock"
	PhaseApply   Phase = "apply"
	PhaseWait    Phase = "wait"
	PhaseVerify  Phase = "verify"
	PhaseRecord  Phase = "record"
	PhaseRestore Phase = "restore"
)

// Mark says what an Event reports of its phase.
type Mark string

const (
	MarkStart Mark = "start" // → work begins
	MarkStep  Mark = "step"  // a live figure, overwritten by the next one
	MarkDone  Mark = "done"  // ✓
	MarkFail  Mark = "fail"  // ✗
	MarkNote  Mark = "note"  // worth knowing, changes nothing
)

// Event is one step of progress: a line for people, a JSON object for --events.
type Event struct {
	At      time.Time     `json:"at"` // filled in by the receiver
	Phase   Phase         `json:"phase"`
	Mark    Mark          `json:"mark"`
	Role    string        `json:"role,omitempty"`
	Image   string        `json:"image,omitempty"` // one of several that are made
	Code    Code          `json:"code,omitempty"`  // of the failure that a MarkFail tells of
	Message string        `json:"message"`
	Ready   int           `json:"ready,omitempty"`
	Desired int           `json:"desired,omitempty"`
	Took    time.Duration `json:"tookNs,omitempty"`
}

// Progress receives events, from several goroutines at once; nil is silent.
type Progress func(Event)

// Report passes e on unless p is nil.
func (p Progress) Report(e Event) {
	if p != nil {
		p(e)
	}
}
