package outlets

// Reasons that many entries share.
const (
	setting   = "a setting of the run, public"
	released  = "computed from released sums, their noise included"
	counter   = "counts steps or charges, which depend on no image"
	member    = "names a worker or how many there are; membership is not private"
	version   = "orders messages; counts failures and restarts of processes, not examples"
	freeText  = "names the kind of failure and no value: TestFailuresPrintNoValues, TestNothingPrivateIsLogged"
	sealed    = "private: for the workers, which are trusted, on the bus of this machine; printed nowhere (TestPrivateFieldsArePrintedNowhere)"
	noImages  = "says which stage begins, for every run with these settings"
	published = "tells workers which parameters to use, themselves released"
)

const subjects = "internal/wire.Subjects"

// fields are the structs that are written whole, with each field and why it may be
// seen. Of the subjects, which the broker sees, they are also the parameters.
var fields = map[string]map[string]string{
	// A line of metrics.jsonl.
	"pipeline.metric": {
		"Phase string":          setting,
		"PhaseStep int":         counter,
		"Charges int":           counter,
		"Epsilon *float64":      "a function of the ledger's charges",
		"Workers int":           member,
		"UpdateNorm float64":    released,
		"Loss *float64":         released,
		"LossSmoothed *float64": released,
		"Clipped *float64":      released,
		"ClipNorm float64":      released,
		"Rate float64":          "the nominal batch over time, smoothed over 20 steps: TestMeterTellsNothingOfSingleSteps",
	},
	// A progress event: JSON lines, bars and plain lines.
	"pipeline.Progress": {
		"Stage string":       noImages,
		"Done int":           counter,
		"Total int":          setting,
		"Unit string":        "a word",
		"Epsilon float64":    "a function of the ledger's charges",
		"Budget float64":     setting,
		"Loss *float64":      released,
		"Rate float64":       "the nominal batch over time, smoothed over 20 steps: TestMeterTellsNothingOfSingleSteps",
		"Left time.Duration": "the rate, turned round",
	},
	// What the coordinator tells of its steps.
	"coordinator.Progress": {
		"Phase string": setting,
		"Step int":     counter,
		"Steps int":    setting,
		"Charges int":  counter,
		"Workers int":  member,
		"Note string":  "is the same for every sample: TestLogsAndProgressDoNotDependOnTheSample",
	},
	// What a worker is told of the run, in Job.
	"pipeline.job": {
		"Config string":      setting,
		"Data string":        "the path of a folder",
		"BaseHash string":    "the hash of a public model",
		"Threads int":        setting,
		"DataKey []byte":     sealed,
		"Pretrain bool":      setting,
		"Fingerprint []byte": sealed,
	},
	"internal/wire.Hello": {"Kind string": "the device"},
	"internal/wire.Job": {
		"Run [16]byte":     "random",
		"BeatEvery uint32": setting,
		"Body []byte":      "pipeline.job",
	},
	"internal/wire.Ready": {"Speed float64": "a setting of the worker, by which shares are dealt"},
	"internal/wire.Assign": {
		"Run [16]byte":      "random",
		"Term uint64":       version,
		"Generation uint64": version,
		"Attempt uint32":    version,
		"Step uint64":       counter,
		"Phase string":      setting,
		"DrawKey [32]byte":  sealed,
		"State [32]byte":    published,
		"Dim uint64":        setting,
		"Rank uint32":       member,
		"Ring []string":     member,
		"IDs []uint32":      sealed,
	},
	"internal/wire.Abort": {
		"Term uint64":       version,
		"Generation uint64": version,
	},
	"internal/wire.Part": {
		"Term uint64":     version,
		"Sequence uint64": version,
		"Phase string":    setting,
		"Step uint64":     counter,
		"State [32]byte":  published,
		"Digest [32]byte": published,
		"Total uint64":    setting,
		"Offset uint64":   setting,
		"Data []byte":     "the parameters after a step, released",
	},
	"internal/wire.Ack": {
		"Sequence uint64": version,
		"Bytes uint64":    "of a release",
		"Loaded bool":     "of a release",
	},
	"internal/wire.Heartbeat": {"Count uint64": "counts heartbeats, which a clock sends"},
	"internal/wire.Failed": {
		"Generation uint64": version,
		"Reason string":     freeText,
	},
	"internal/wire.Leave": {"Reason string": freeText},
	"internal/wire.Refuse": {
		"Rejoin bool":   member,
		"Reason string": freeText,
	},
	"internal/wire.End": {},
	// The header of numbers on their way round the ring; the numbers follow it.
	"internal/wire.Chunk": {
		"Phase Phase":       "which half of the reduction",
		"Type Type":         setting,
		"Generation uint64": version,
		"Step uint64":       counter,
		"Attempt uint32":    version,
		"Ranks uint16":      member,
		"Hop uint16":        member,
		"Segment uint32":    member,
		"Index uint32":      setting,
		"Offset uint64":     setting,
		"Count uint32":      "of coordinates, a setting",
		"Length uint32":     "of the vector, a setting",
	},
	subjects: {
		"Run string":                          "random",
		"Up(worker, session string) string":   member,
		"Beat(worker, session string) string": member,
		"Shard(worker string, generation uint64, attempt uint32) string":  version,
		"Ring(from, to string, generation uint64, attempt uint32) string": version,
		"Down(worker, session string) string":                             member,
		"All() string":                                                    "no part of it varies",
		"AllUp() string":                                                  "no part of it varies",
		"AllBeats() string":                                               "no part of it varies",
		"AllShards() string":                                              "no part of it varies",
		"RingTo(worker string) string":                                    member,
		"Publishes(worker string) []string":                               member,
		"Subscribes(worker string) []string":                              member,
		"Sender(subject string) (worker, session string, ok bool)":        "reads a subject",
	},
}

// allowedCalls are the calls that write a log, show something or append a metric.
var allowedCalls = map[string]string{
	// The log.
	`coordinator: s.c.log.Info(note)`: "is the same for every sample: TestLogsAndProgressDoNotDependOnTheSample",
	`coordinator: s.c.log.Warn("a charge has no noised sum; its step is computed again with a new sample, at the cost of one more charge", "step", e.Plan.Plan.Step)`: counter,
	`coordinator: s.c.log.Warn("a checkpoint is damaged; an earlier one serves", "cause", err)`:                                                                       "the damage of a file of released values",
	`coordinator: s.c.log.Warn("a worker is gone", "worker", e.Worker, "cause", e.Cause)`:                                                                             freeText,
	`coordinator: s.c.log.Warn("the step is computed again", "step", s.phaseView().Commits, "cause", e.Reason)`:                                                       freeText,
	`coordinator: w.logger.Warn("ledger", "raft", strings.TrimSpace(string(b)))`:                                                                                      "raft knows the ledger's entries, which hold no image's values, and prints none",
	`internal/bus: l.to.Error("message bus: " + fmt.Sprintf(format, v...))`:                                                                                           "the server names subjects and users and prints no payload",
	`internal/bus: l.to.Warn("message bus: " + fmt.Sprintf(format, v...))`:                                                                                            "the server names subjects and users and prints no payload",
	`pipeline: r.log.Error("failed", "error", err)`:                                                                                                                   freeText,
	`pipeline: r.log.Info("begin", "name", spec.Name, "version", Version, "device", DeviceDescription())`:                                                             setting,
	`pipeline: r.log.Info("complete")`:                                                                                           noImages,
	`pipeline: r.log.Info("stopped as asked")`:                                                                                   noImages,
	`pipeline: c.log.Warn("a worker process ended", "worker", credentials.Worker, "error", err)`:                                 "without the trace of a crash: TestLastWordsHoldNoTrace",
	`worker/fleet/natsfleet: f.o.Logger.Error("a message to the workers could not be sent", "cause", err)`:                       freeText,
	`worker/fleet/natsfleet: f.o.Logger.Info("worker joined", "worker", m.name)`:                                                 member,
	`worker/fleet/natsfleet: f.o.Logger.Warn("a worker's message is ignored", "worker", name, "cause", err)`:                     freeText,
	`worker/fleet/natsfleet: f.o.Logger.Warn("worker failed", "worker", m.name, "generation", r.Generation, "reason", r.Reason)`: freeText,
	`worker/fleet/natsfleet: f.o.Logger.Warn("worker lost", "worker", m.name, "cause", cause)`:                                   freeText,
	`worker: o.Logger.Info("worker joins again", "worker", o.Connection.worker)`:                                                 member,
	`worker: s.o.Logger.Warn("worker ignores a message", "worker", s.name, "cause", err)`:                                        freeText,

	// The metrics.
	`pipeline: w.metrics.Append(step, line)`: "a pipeline.metric",

	// What a person or a program that started the run is shown.
	`cmd/dploda: l.write(map[string]string{"event": "note", "text": text})`:                                                                                                 "a note below",
	`cmd/dploda: l.write(map[string]string{"event": "stage", "stage": name})`:                                                                                               "a stage below",
	"cmd/dploda: l.write(struct { Event string `json:\"event\"` pipeline.Progress Done int `json:\"done\"` Total int `json:\"total\"` }{\"progress\", p, p.Done, p.Total})": "a pipeline.Progress",
	`pipeline: obs.Note(fmt.Sprintf("base of %d parameters in %s", len(p.weights), opts.Out))`:                                                                              "of a pre-training, on public images",
	`pipeline: obs.Note(fmt.Sprintf("going on from step %d", begin))`:                                                                                                       "of a pre-training, on public images",
	`pipeline: obs.Note(fmt.Sprintf("%s is damaged: its images are drawn again", f.store.Path(ref)))`:                                                                       "a path in the caller's folder of synthetic images",
	`pipeline: obs.Progress(p)`:                                                                      "of sampling, which sees released values only",
	`pipeline: obs.Stage("sample")`:                                                                  noImages,
	`pipeline: obs.Stage("write the images")`:                                                        noImages,
	`pipeline: obs.Stage("train a classifier on the public images")`:                                 "of the making of features, on public images",
	`pipeline: obs.Progress(Progress{Stage: "classifier", Done: done, Total: total, Unit: "steps"})`: "of the making of features, on public images",
	`pipeline: obs.Note(fmt.Sprintf("epoch %d classifies %.1f %% of %d held-out public images rightly", trained.Epoch, 100*classifier.Accuracy(heldOut, predicted), heldOut.Len()))`: "of the making of features, on public images",
	`pipeline: r.obs.Stage("compare features")`:     noImages,
	`pipeline: obs.Progress(progress)`:              "of a pre-training, on public images",
	`pipeline: obs.Stage("pre-train")`:              noImages,
	`pipeline: obs.Stage("read the public images")`: noImages,
	`pipeline: r.obs.Note(fmt.Sprintf("%s is lost (%s); its part of the step is done by the others", lost.Worker, lost.Cause))`: "in pre-training, on public images",
	`pipeline: r.obs.Note("the data are private: no exact accuracy on real images is computed")`:                                noImages,
	`pipeline: r.obs.Note(n)`:                  "what the config leaves unused, a constant sentence",
	`pipeline: r.opts.Owner(harmless(remark))`: "for the terminal alone, and says so: TestRunOnAnImageFolder",
	`cmd/dploda: l.write(map[string]string{"event": "owner", "text": pipeline.OwnersEyes + text})`:     "for the terminal alone, and says so: TestRunOnAnImageFolder",
	`pipeline: r.obs.Note("wrote the drawn sets to " + r.opts.ExportData)`:                             setting,
	`pipeline: r.obs.Progress(Progress{Stage: "classifier", Done: done, Total: total, Unit: "steps"})`: "of a training on synthetic images, or on images declared public",
	`pipeline: r.obs.Progress(p)`: "of sampling, which sees released values only",
	`pipeline: r.obs.Stage("probe: two noiseless steps on public random images")`: noImages,
	`pipeline: r.obs.Stage("read the images")`:                                    noImages,
	`pipeline: r.obs.Stage("sample " + what)`:                                     noImages,
	`pipeline: r.obs.Stage("train a classifier on " + name)`:                      noImages,
	`pipeline: w.obs.Note(p.Note)`:                                                "a coordinator.Progress",
	`pipeline: w.obs.Progress(progress)`:                                          "a pipeline.Progress",
	`pipeline: w.obs.Stage(p.Phase)`:                                              noImages,
}
