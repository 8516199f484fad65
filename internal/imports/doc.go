// Package imports holds no code: its test keeps the directions in which the
// project's packages may import one another.
package imports
