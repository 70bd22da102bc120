/** Completion for shells: each asks `lowrank completion --words` what may follow. */

/** The script that a shell reads at its start. */
export const SCRIPTS = {
  bash: `_lowrank() {
  local IFS=$'\\n'
  COMPREPLY=($(lowrank completion --words "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  [ \${#COMPREPLY[@]} -gt 0 ] || compopt -o default
}
complete -F _lowrank lowrank`,
  zsh: `#compdef lowrank
_lowrank() {
  local -a found
  found=("\${(@f)$(lowrank completion --words "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "\${found[1]}" ]]; then compadd -a found; else _files; fi
}
compdef _lowrank lowrank`,
  fish: `complete -c lowrank -a '(lowrank completion --words (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'`,
} as const;
