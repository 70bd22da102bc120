#!/usr/bin/env bash
# Installs a software Vulkan driver that WebGPU runs on (Mesa's lavapipe, 24 or newer), as root on Debian; else tells.
set -euo pipefail
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
  echo "No software Vulkan driver installed: that needs root and apt. WebGPU tests are skipped without a driver." >&2
  exit 0
fi
. /etc/os-release
release=()
if [ "${ID:-}" = debian ] && [ "${VERSION_ID:-0}" -lt 13 ]; then
  # bookworm's own Mesa is too old; its backports hold 25.
  mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2> /dev/null | head -n 1 || true)
  if [ -z "$mirror" ]; then
    echo "No software Vulkan driver installed: apt's sources name no Debian mirror. WebGPU tests are skipped without a driver." >&2
    exit 0
  fi
  echo "deb $mirror ${VERSION_CODENAME}-backports main" > /etc/apt/sources.list.d/backports-mesa.list
  release=(-t "${VERSION_CODENAME}-backports")
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${release[@]}" libvulkan1 mesa-vulkan-drivers
