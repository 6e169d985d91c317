package main

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// secretSettings come from a Secret, never as text.
var secretSettings = []string{"POSTGRES__URL", "REDIS__URL", "KAFKA__SASL_USERNAME", "KAFKA__SASL_PASSWORD", "ALERT__WEBHOOK_URL"}

// secretFiles are settings that name a file of a Secret.
var secretFiles = []string{"AUTH__KEYS_FILE", "AUTH__SESSION_KEY_FILE", "HTTP__TLS_KEY", "KAFKA__TLS_KEY"}

// checkAccess reports secrets that others can read, and requests that keys or TLS would refuse.
func checkAccess(pod corev1.PodSpec, container corev1.Container) (problems []string) {
	complain := func(format string, arguments ...any) {
		problems = append(problems, fmt.Sprintf(format, arguments...))
	}
	settings := map[string]string{}
	for _, variable := range container.Env {
		name := strings.TrimPrefix(variable.Name, "SPILLWAY_")
		settings[name] = variable.Value
		if slices.Contains(secretSettings, name) && (variable.ValueFrom == nil || variable.ValueFrom.SecretKeyRef == nil) {
			complain("%s is given as text, not by a Secret", name)
		}
	}
	switch mode := settings["AUTH__MODE"]; {
	case mode == "required" && settings["AUTH__KEYS_FILE"] == "":
		complain("keys are required, but no file names them")
	case mode != "required" && mode != "off":
		complain("AUTH__MODE is %q", mode)
	}
	for _, name := range secretFiles {
		if path := settings[name]; path != "" && !isPrivate(pod, container, path) {
			complain("%s=%s is not in a read-only volume of a Secret that others cannot read", name, path)
		}
	}
	hasTLS := settings["HTTP__TLS_KEY"] != ""
	for _, probe := range []*corev1.Probe{container.StartupProbe, container.LivenessProbe, container.ReadinessProbe} {
		if probe != nil && probe.HTTPGet != nil && (probe.HTTPGet.Scheme == corev1.URISchemeHTTPS) != hasTLS {
			complain("a probe asks by %s", probe.HTTPGet.Scheme)
		}
	}
	for _, name := range []string{"GATEWAY__PRODUCERS", "GATEWAY__CONSUMERS"} {
		if url := settings[name]; url != "" && strings.HasPrefix(url, "https://") != hasTLS {
			complain("%s=%s has not the scheme of the listeners", name, url)
		}
	}
	return problems
}

// isPrivate returns whether a file is in a read-only volume of a Secret, and not readable by others.
func isPrivate(pod corev1.PodSpec, container corev1.Container, path string) bool {
	for _, mount := range container.VolumeMounts {
		if !mount.ReadOnly || !strings.HasPrefix(path, mount.MountPath+"/") {
			continue
		}
		for _, volume := range pod.Volumes {
			if secret := volume.Secret; volume.Name == mount.Name && secret != nil {
				return secret.DefaultMode != nil && *secret.DefaultMode&0o007 == 0
			}
		}
	}
	return false
}
