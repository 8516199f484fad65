// Package outlets holds no code: its test lists everything that may appear in
// metrics, progress events, logs, heartbeats and messages.
package outlets
