#include "core/command.h"

static const rh_command_provider *provider;

const rh_command_provider *rh_commands(void) { return provider; }

void rh_commands_provide(const rh_command_provider *commands) { provider = commands; }
